ALTER TABLE stock ALTER COLUMN id TYPE bigint;
UPDATE stock SET n = 0 WHERE id > 50;
DELETE FROM stock WHERE id < 5;
INSERT INTO stock VALUES (1000, 1, 'y');
