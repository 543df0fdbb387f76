CREATE TABLE guests (age integer);
ALTER TABLE guests ADD CONSTRAINT has_age CHECK (age IS NOT NULL);
