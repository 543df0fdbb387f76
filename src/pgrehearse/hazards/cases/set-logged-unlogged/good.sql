CREATE UNLOGGED TABLE import_buffer (id integer);
ALTER TABLE import_buffer SET LOGGED;
