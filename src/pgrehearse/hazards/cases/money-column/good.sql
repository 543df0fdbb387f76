CREATE TABLE guests (id bigint PRIMARY KEY, tip numeric(19, 4));
