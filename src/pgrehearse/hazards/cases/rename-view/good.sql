CREATE VIEW grown_ups AS SELECT * FROM adults;
