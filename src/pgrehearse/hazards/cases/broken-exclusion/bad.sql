-- needs: rehearsal
CREATE FUNCTION floor_of(room text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT room';
CREATE TABLE stays (room text, EXCLUDE (floor_of(room) WITH =));
INSERT INTO stays VALUES ('1a'), ('1b');
CREATE OR REPLACE FUNCTION floor_of(room text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT left(room, 1)';
