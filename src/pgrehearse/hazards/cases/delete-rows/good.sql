CREATE TEMP TABLE gone AS SELECT * FROM days WHERE visits < 2;
DELETE FROM gone WHERE visits < 2;
