UPDATE users SET nick = 'grown-up' WHERE age >= 18;
