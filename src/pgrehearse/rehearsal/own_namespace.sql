-- name: tables
-- What stands in our namespace beside what we made there ourselves.
SELECT c.oid, n.nspname, c.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgrehearse' AND c.relkind IN ('r', 'm')
  AND c.relname NOT IN ('migrations', 'progress', 'entries', 'leases')
ORDER BY c.oid
