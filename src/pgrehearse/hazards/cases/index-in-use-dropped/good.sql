CREATE INDEX CONCURRENTLY users_points ON users (points);
