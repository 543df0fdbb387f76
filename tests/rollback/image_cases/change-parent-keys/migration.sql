UPDATE users SET id = id + 1000 WHERE id > 5;
