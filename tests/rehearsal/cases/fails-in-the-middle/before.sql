CREATE TABLE a (id bigint PRIMARY KEY, v integer);
INSERT INTO a SELECT n, n FROM generate_series(1, 50) AS n;
