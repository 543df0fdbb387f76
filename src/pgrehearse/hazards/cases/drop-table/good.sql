CREATE TABLE import_buffer (id integer);
DROP TABLE import_buffer;
