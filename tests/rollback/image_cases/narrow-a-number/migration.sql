ALTER TABLE orders ALTER COLUMN price TYPE integer;
