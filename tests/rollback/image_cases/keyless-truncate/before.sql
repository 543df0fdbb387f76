CREATE TABLE log (line text, n int);
INSERT INTO log SELECT 'line ' || i % 4, i % 3 FROM generate_series(1, 120) i;
