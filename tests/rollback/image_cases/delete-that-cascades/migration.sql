DELETE FROM orders WHERE id > 10;
