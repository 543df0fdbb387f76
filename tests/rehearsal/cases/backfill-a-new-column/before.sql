CREATE TABLE t (id bigint PRIMARY KEY, first text, last text);
INSERT INTO t SELECT n, 'f' || n, 'l' || n FROM generate_series(1, 300) AS n;
