-- fails: 0A000
ALTER TABLE users ALTER COLUMN age TYPE bigint;
