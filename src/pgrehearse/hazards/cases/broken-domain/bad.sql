-- needs: rehearsal
ALTER DOMAIN positive ADD CONSTRAINT small CHECK (VALUE < 10) NOT VALID;
