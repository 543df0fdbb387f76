-- needs: rehearsal
BEGIN;
LOCK TABLE users;
SELECT pg_sleep(0.1);
COMMIT;
