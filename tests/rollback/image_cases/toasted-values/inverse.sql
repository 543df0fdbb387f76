ALTER TABLE files ADD COLUMN raw bytea;
