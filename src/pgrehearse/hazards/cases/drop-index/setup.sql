CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL, nick varchar(20), age integer);
INSERT INTO users SELECT g, 'u' || g || '@example.com', 'n' || g, g % 90 FROM generate_series(1, 50) g;
CREATE INDEX users_age ON users (age);
