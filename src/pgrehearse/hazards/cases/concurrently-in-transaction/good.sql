CREATE INDEX CONCURRENTLY users_joined ON users (joined);
