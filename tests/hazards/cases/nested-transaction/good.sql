ALTER TABLE users ADD COLUMN comment text;
