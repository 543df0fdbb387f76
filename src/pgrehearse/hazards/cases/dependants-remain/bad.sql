-- needs: catalog
-- fails: 2BP01
ALTER TABLE users DROP COLUMN age;
