UPDATE users SET nick = 'anonymous';
