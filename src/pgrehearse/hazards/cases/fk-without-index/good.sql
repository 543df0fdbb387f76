CREATE INDEX CONCURRENTLY orders_user_id ON orders (user_id);
ALTER TABLE orders ADD CONSTRAINT again FOREIGN KEY (user_id) REFERENCES users NOT VALID;
