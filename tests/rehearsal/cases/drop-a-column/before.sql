CREATE TABLE users (id bigint PRIMARY KEY, name text, nick text);
INSERT INTO users SELECT n, 'u' || n, CASE WHEN n % 2 = 0 THEN 'nick' END FROM generate_series(1, 500) AS n;
