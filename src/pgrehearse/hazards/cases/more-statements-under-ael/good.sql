ALTER TABLE users ADD COLUMN city text;
SELECT count(*) FROM orders;
