CREATE INDEX CONCURRENTLY users_age_joined ON users (age, joined);
