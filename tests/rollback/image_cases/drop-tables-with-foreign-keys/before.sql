CREATE TABLE users (id int PRIMARY KEY, boss int REFERENCES users);
INSERT INTO users VALUES (3, NULL), (1, 3), (2, 1);
CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users);
INSERT INTO orders SELECT i, 1 + i % 3 FROM generate_series(1, 30) i;
CREATE TABLE lines (order_id int REFERENCES orders ON DELETE CASCADE, n int, PRIMARY KEY (order_id, n));
INSERT INTO lines SELECT i, 1 FROM generate_series(1, 30) i;
