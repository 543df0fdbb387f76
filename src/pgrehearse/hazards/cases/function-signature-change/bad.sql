DROP FUNCTION greet(text);
CREATE FUNCTION greet(name text, title text) RETURNS text LANGUAGE sql AS $$ SELECT 'Hello ' || title || name $$;
