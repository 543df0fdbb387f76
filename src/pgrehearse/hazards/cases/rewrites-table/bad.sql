-- needs: rehearsal
DO $$ BEGIN EXECUTE (SELECT 'ALTER TABLE orders ALTER COLUMN id TYPE bigint'); END $$;
