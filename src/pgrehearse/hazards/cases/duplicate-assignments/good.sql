UPDATE users SET nick = 'nobody', age = 2 WHERE age IS NULL AND nick IS NULL;
