DROP VIEW adults;
ALTER TABLE users ALTER COLUMN nick TYPE varchar(40);
