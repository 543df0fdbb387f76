DELETE FROM bills WHERE id > 40;
UPDATE bills SET net = 0 WHERE id < 10;
UPDATE codes SET a = 'z' || a WHERE id < 5;
DELETE FROM codes WHERE id = 7;
