-- needs: catalog
-- fails: 42830
ALTER TABLE days ADD CONSTRAINT visits_of_day FOREIGN KEY (visits) REFERENCES users (age);
