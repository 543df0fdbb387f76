-- needs: catalog
-- fails: 42P01
ALTER TABLE customers ADD COLUMN city text;
