BEGIN;
ALTER TABLE users ADD COLUMN city text;
UPDATE users SET city = 'Berlin' WHERE city IS NULL;
COMMIT;
