ALTER TABLE days ADD CONSTRAINT visits_of_order FOREIGN KEY (visits) REFERENCES orders (id) NOT VALID;
