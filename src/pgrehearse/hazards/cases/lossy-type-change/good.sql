ALTER TABLE orders ADD COLUMN total_new numeric(10, 0);
