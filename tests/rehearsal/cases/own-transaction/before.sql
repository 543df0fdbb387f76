CREATE TABLE t (id bigint PRIMARY KEY, v text);
INSERT INTO t SELECT n, 'x' FROM generate_series(1, 30) AS n;
