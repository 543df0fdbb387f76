CREATE SEQUENCE orders_number;
GRANT USAGE ON SEQUENCE orders_number TO PUBLIC;
ALTER TABLE orders ADD COLUMN number integer;
ALTER TABLE orders ALTER COLUMN number SET DEFAULT nextval('orders_number');
