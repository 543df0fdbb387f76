SET timezone = 'UTC';
ALTER TABLE users ALTER COLUMN joined TYPE timestamptz;
RESET timezone;
