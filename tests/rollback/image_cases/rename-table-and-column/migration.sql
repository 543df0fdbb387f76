ALTER TABLE orders RENAME TO purchases;
ALTER TABLE purchases RENAME price TO cost;
UPDATE purchases SET cost = 0;
DELETE FROM purchases WHERE id = 3;
