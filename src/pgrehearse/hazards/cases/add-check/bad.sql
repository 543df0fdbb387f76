ALTER TABLE users ADD CONSTRAINT "Grown?" CHECK (age >= 0);
