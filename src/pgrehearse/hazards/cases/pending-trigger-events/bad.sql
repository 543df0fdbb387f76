-- needs: catalog
-- fails: 55006
BEGIN;
INSERT INTO payments VALUES (1, 1);
ALTER TABLE payments ADD COLUMN note text;
COMMIT;
