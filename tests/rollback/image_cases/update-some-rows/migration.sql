UPDATE orders SET note = 'x', customer = NULL WHERE id < 100;
