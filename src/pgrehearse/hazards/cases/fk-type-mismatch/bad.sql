-- needs: catalog
-- fails: 42804
ALTER TABLE days ADD CONSTRAINT day_of_order FOREIGN KEY (day) REFERENCES orders (id);
