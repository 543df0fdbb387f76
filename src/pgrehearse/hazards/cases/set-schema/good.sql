CREATE VIEW archive.days AS SELECT * FROM days;
