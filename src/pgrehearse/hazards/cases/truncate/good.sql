CREATE TABLE import_buffer (id integer);
TRUNCATE import_buffer;
