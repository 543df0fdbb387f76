-- not run: a hash function of its own is a superuser's to make
-- needs: rehearsal
CREATE OR REPLACE FUNCTION bucket(key integer, seed bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT key + 1';
