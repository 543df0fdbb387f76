-- fails: 25001
BEGIN;
CREATE INDEX CONCURRENTLY users_joined ON users (joined);
COMMIT;
