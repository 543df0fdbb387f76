CREATE INDEX CONCURRENTLY users_some ON users (joined, points) INCLUDE (nick, age);
