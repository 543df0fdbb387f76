CREATE TABLE stock (id int PRIMARY KEY, n int, note text);
INSERT INTO stock SELECT i, i, 'x' FROM generate_series(1, 100) i;
