-- needs: rehearsal
-- pgrehearse: expect deletes days where visits = 0 between 1 and 10 rows
DELETE FROM days WHERE visits = 0;
