SELECT count(*) FROM orders a, orders b;
ALTER TABLE users ADD COLUMN city text;
