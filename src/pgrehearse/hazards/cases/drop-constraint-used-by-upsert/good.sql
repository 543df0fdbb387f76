CREATE UNIQUE INDEX CONCURRENTLY users_email_unique ON users (email);
