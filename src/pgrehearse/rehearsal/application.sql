-- name: sequences
-- Temporary ones are their session's.
SELECT c.oid::pg_catalog.int8, n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't';

-- name: put_back
SELECT pg_catalog.setval(%s::pg_catalog.oid::pg_catalog.regclass, %s, %s);

-- name: taking_roles
-- Functions that a user made and that leave the role of their caller.
SELECT p.proname::pg_catalog.text FROM pg_catalog.pg_proc p
WHERE p.oid OPERATOR(pg_catalog.>=) 16384
  AND p.prosrc OPERATOR(pg_catalog.~*) 'session[\s_]+authorization|discard\s+all|\mset\s+(local\s+|session\s+)?role\M|\mreset\s+role\M|''role''\s*,'
ORDER BY 1;
