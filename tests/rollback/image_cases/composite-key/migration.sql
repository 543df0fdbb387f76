UPDATE stock SET n = 0 WHERE item > 50;
DELETE FROM stock WHERE shop = 's1';
