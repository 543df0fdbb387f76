SET timezone = 'Europe/Berlin';
ALTER TABLE users ALTER COLUMN joined TYPE timestamptz;
RESET timezone;
