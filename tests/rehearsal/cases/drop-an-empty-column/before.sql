CREATE TABLE users (id bigint PRIMARY KEY, name text, nick text);
INSERT INTO users SELECT n, 'u' || n FROM generate_series(1, 500) AS n;
