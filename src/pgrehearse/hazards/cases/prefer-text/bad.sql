CREATE TABLE guests (id bigint PRIMARY KEY, name varchar(30));
