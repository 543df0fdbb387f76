-- pgrehearse: expect deletes days where visits = 1000 <= 1 row
DELETE FROM days WHERE visits = 1000;
