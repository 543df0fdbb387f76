CREATE INDEX CONCURRENTLY users_upper ON users (upper(nick));
