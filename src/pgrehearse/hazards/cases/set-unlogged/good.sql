CREATE UNLOGGED TABLE import_buffer (id integer);
