ALTER TABLE users ADD CONSTRAINT users_not_unborn CHECK (age >= 0) NOT VALID;
ALTER TABLE users VALIDATE CONSTRAINT users_not_unborn;
