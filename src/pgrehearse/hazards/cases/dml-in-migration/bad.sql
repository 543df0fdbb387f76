ALTER TABLE users ADD COLUMN city text;
INSERT INTO orders (id, user_id) VALUES (99, 1);
