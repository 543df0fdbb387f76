CREATE FUNCTION welcome(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'Welcome ' || name $$;
