ALTER TABLE trucks ADD COLUMN axles integer;
