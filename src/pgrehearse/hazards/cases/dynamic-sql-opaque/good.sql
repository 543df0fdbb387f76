DO $$ BEGIN PERFORM count(*) FROM users; END $$;
