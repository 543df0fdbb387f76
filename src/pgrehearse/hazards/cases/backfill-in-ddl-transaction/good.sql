BEGIN;
ALTER TABLE users ADD COLUMN city text;
COMMIT;
UPDATE users SET city = 'Berlin' WHERE city IS NULL;
