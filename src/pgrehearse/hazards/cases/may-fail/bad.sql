ALTER TABLE orders ADD CONSTRAINT no_debt CHECK (total >= 0);
