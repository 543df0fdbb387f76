ALTER TABLE users ADD COLUMN tripled integer;
