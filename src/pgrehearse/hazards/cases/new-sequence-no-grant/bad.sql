-- needs: catalog
CREATE SEQUENCE orders_number;
ALTER TABLE orders ADD COLUMN number integer;
ALTER TABLE orders ALTER COLUMN number SET DEFAULT nextval('orders_number');
