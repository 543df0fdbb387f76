-- tool: drizzle
BEGIN;
ALTER TABLE users ADD COLUMN comment text;
COMMIT;
