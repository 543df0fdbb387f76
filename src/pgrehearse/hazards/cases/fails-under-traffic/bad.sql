-- needs: rehearsal
SET lock_timeout = '1ms';
ALTER TABLE orders ADD COLUMN note text;
