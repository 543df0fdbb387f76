CREATE INDEX CONCURRENTLY IF NOT EXISTS users_joined ON users (joined);
