-- needs: rehearsal
CREATE FUNCTION folded(nick text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT nick';
CREATE UNIQUE INDEX users_folded ON users (folded(nick));
CREATE OR REPLACE FUNCTION folded(nick text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT left(nick, 1)';
