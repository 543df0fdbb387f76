-- needs: rehearsal
CREATE FUNCTION with_tax(total numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT total * 1.19';
ALTER TABLE orders ADD COLUMN gross numeric GENERATED ALWAYS AS (with_tax(total)) STORED;
CREATE OR REPLACE FUNCTION with_tax(total numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT total * 1.20';
