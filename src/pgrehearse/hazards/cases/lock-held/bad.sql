-- needs: rehearsal
BEGIN;
ALTER TABLE users ADD COLUMN city text;
SELECT count(*) FROM orders a, orders b;
COMMIT;
