-- fails: 23502
ALTER TABLE users ADD COLUMN status text NOT NULL;
