CREATE TABLE days_kept AS SELECT * FROM days;
