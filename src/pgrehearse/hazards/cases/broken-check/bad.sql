-- needs: rehearsal
CREATE FUNCTION grown(age integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT age >= 0';
ALTER TABLE users ADD CONSTRAINT users_grown CHECK (grown(age));
CREATE OR REPLACE FUNCTION grown(age integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT age >= 18';
