CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users ON UPDATE CASCADE);
INSERT INTO users SELECT i FROM generate_series(1, 20) i;
INSERT INTO orders SELECT i, 1 + i % 20 FROM generate_series(1, 60) i;
