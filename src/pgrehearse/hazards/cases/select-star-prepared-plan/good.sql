CREATE TABLE guests (id integer);
ALTER TABLE guests ADD COLUMN city text;
