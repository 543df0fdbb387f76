UPDATE orders SET user_id = 1 WHERE user_id = 2;
DELETE FROM users WHERE id = 2;
UPDATE users SET email = 'u2' WHERE id = 1;
