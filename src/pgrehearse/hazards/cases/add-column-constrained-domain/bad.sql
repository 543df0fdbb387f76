ALTER TABLE users ADD COLUMN level positive;
