-- name: invalid
-- Those of partitioned tables are dumped, and a constraint's is made with it.  Temporary ones are their session's.
SELECT n.nspname, c.relname, pg_catalog.pg_get_indexdef(i.indexrelid), i.indisunique, i.indisready, i.indislive
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> 'pgrehearse_quarantine'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
ORDER BY n.nspname, c.relname;
