ALTER TABLE orders ADD CONSTRAINT orders_user_id_again FOREIGN KEY (user_id) REFERENCES users NOT VALID;
