ALTER TABLE orders DROP COLUMN status, ADD COLUMN state text;
