CREATE TABLE guests (id integer) TABLESPACE pg_default;
