CREATE TABLE a_lines (id int PRIMARY KEY, order_id int, n int);
CREATE TABLE orders (id int PRIMARY KEY);
ALTER TABLE a_lines ADD FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE;
CREATE TABLE visits (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE SET NULL);
INSERT INTO orders SELECT i FROM generate_series(1, 30) i;
INSERT INTO a_lines SELECT i, 1 + i % 30, i FROM generate_series(1, 90) i;
INSERT INTO visits SELECT i, 1 + i % 30 FROM generate_series(1, 60) i;
