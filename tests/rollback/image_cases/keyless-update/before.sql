CREATE TABLE log (line text, n int, price float8);
INSERT INTO log SELECT 'line ' || i % 4, i % 3, i FROM generate_series(1, 120) i;
INSERT INTO log SELECT * FROM log;
INSERT INTO log VALUES (NULL, NULL, NULL), (NULL, NULL, NULL);
