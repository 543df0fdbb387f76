CREATE UNIQUE INDEX users_email_index ON users (lower(email)) WHERE age > 1;
