ALTER TABLE orders ALTER COLUMN note TYPE varchar(6) USING left(note, 6);
