CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE);
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users);
INSERT INTO users SELECT i, 'u' || i FROM generate_series(1, 20) i;
INSERT INTO orders SELECT i, 1 + i % 20 FROM generate_series(1, 60) i;
