-- needs: rehearsal
CREATE PUBLICATION shop FOR TABLE users, days;
ALTER PUBLICATION shop DROP TABLE days;
