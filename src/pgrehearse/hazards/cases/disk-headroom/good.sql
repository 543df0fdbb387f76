ALTER TABLE users ADD COLUMN token uuid;
