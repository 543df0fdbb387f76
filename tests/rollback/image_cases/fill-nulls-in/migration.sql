UPDATE orders SET note = 'unknown' WHERE note IS NULL;
