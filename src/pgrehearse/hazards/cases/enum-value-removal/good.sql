ALTER TABLE users ADD CONSTRAINT not_sad CHECK (feeling <> 'sad') NOT VALID;
