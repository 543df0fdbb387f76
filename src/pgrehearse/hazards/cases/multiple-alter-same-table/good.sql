ALTER TABLE users ADD COLUMN city text, ADD COLUMN country text;
