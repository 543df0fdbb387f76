CREATE TABLE guests (id bigint PRIMARY KEY, came timestamp);
