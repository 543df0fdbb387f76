-- needs: catalog
-- fails: 23514
ALTER TABLE users ADD CONSTRAINT grown CHECK (age >= 18);
