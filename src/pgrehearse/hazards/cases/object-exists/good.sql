CREATE TABLE guests (id integer);
