UPDATE orders SET price = price * 2;
