CREATE UNLOGGED TABLE cache (id int PRIMARY KEY, v text);
INSERT INTO cache SELECT i, 'v' FROM generate_series(1, 20) i;
CREATE TABLE empty_one (id int PRIMARY KEY, v text);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
