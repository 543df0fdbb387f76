ALTER TABLE orders DROP COLUMN note;
DELETE FROM orders WHERE id > 150;
UPDATE orders SET customer = upper(customer) WHERE id < 100;
INSERT INTO orders VALUES (900, 'new', 1);
