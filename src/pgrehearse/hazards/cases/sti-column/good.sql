ALTER TABLE users ADD COLUMN user_type text;
