UPDATE users SET nick = 'anonymous' WHERE nick IS NULL;
