ALTER TABLE purchases RENAME TO orders;
ALTER TABLE orders RENAME cost TO price;
