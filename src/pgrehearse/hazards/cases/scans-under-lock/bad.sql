-- needs: rehearsal
DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE orders ADD CHECK (total >= 0)'); END $$;
