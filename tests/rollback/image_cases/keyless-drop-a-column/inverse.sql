ALTER TABLE log ADD COLUMN note text;
