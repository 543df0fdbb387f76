CREATE TABLE log (line text, n int, note text);
INSERT INTO log SELECT 'line ' || i % 4, i % 3, 'note ' || i FROM generate_series(1, 120) i;
