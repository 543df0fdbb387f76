CREATE INDEX CONCURRENTLY users_joined_points ON users (joined, points);
