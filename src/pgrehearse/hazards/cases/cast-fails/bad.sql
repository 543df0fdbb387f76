-- needs: catalog
-- fails: 42804
ALTER TABLE users ALTER COLUMN email TYPE integer;
