-- fails: 42601
UPDATE users SET age = 1, age = 2 WHERE id = 3;
