CREATE TABLE guests (id integer CONSTRAINT guests_positive CHECK (id > 0));
ALTER TABLE guests DROP CONSTRAINT guests_positive;
