-- needs: rehearsal
CREATE TABLE days_new (LIKE days INCLUDING ALL);
INSERT INTO days_new SELECT * FROM days;
ALTER TABLE days RENAME TO days_old;
ALTER TABLE days_new RENAME TO days;
