CREATE TABLE guests (id integer PRIMARY KEY);
