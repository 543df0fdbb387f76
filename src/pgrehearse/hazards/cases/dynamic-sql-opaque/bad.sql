DO $$ DECLARE each record; BEGIN
    FOR each IN SELECT relname FROM pg_catalog.pg_class WHERE relname LIKE 'tmp%' LOOP
        EXECUTE 'DROP TABLE ' || each.relname;
    END LOOP;
END $$;
