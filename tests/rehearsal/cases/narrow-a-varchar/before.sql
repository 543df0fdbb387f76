CREATE TABLE products (id bigint PRIMARY KEY, code varchar(20));
INSERT INTO products SELECT n, CASE WHEN n <= 30 THEN 'a-code-too-long' ELSE 'short' END FROM generate_series(1, 400) AS n;
