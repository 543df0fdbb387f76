UPDATE users SET nick = 'grown-up' WHERE nick IS NULL AND age >= 18;
