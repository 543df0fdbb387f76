CREATE TABLE returns (status text DEFAULT 'new');
ALTER TABLE returns ALTER COLUMN status SET DEFAULT 'open';
