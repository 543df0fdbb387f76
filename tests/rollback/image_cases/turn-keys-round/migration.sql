UPDATE orders SET id = -id;
