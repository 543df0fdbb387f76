CREATE TABLE lines (order_id int, n int, PRIMARY KEY (order_id, n));
CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL);
CREATE TABLE users (id int PRIMARY KEY, boss int REFERENCES users);
ALTER TABLE lines ADD FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE;
ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users;
