ALTER TABLE users ADD COLUMN status text NOT NULL DEFAULT 'new';
ALTER TABLE users ADD COLUMN comment text;
