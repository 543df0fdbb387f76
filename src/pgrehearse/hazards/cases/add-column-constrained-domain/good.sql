ALTER TABLE users ADD COLUMN level integer;
ALTER TABLE users ADD CONSTRAINT level_positive CHECK (level > 0) NOT VALID;
