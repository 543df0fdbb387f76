-- needs: catalog
-- fails: 23502
ALTER TABLE payments ALTER COLUMN amount SET NOT NULL;
