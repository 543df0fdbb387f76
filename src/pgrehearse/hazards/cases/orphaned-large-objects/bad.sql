-- needs: rehearsal
CREATE TABLE pictures (picture oid);
INSERT INTO pictures SELECT lo_create(0);
UPDATE pictures SET picture = NULL;
