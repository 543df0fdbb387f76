UPDATE log SET price = price * 2 WHERE n = 1;
DELETE FROM log WHERE n = 2;
INSERT INTO log VALUES ('new', 1, 1), ('line 1', 7, 1);
