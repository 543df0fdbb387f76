ALTER TABLE users ADD COLUMN halved integer;
