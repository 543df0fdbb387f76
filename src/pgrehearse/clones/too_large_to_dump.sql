-- name: candidates
-- Tables with a bytea (a domain over one) whose TOAST table is large enough to hold such a value: 500 MB that compress
-- as well as anything can are 2 MB.  A partition is a table by itself.
WITH RECURSIVE bytes(oid) AS (
    SELECT 'pg_catalog.bytea'::pg_catalog.regtype::pg_catalog.oid
    UNION
    SELECT t.oid FROM bytes JOIN pg_catalog.pg_type t ON t.typtype = 'd' AND t.typbasetype = bytes.oid
)
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), n.nspname, c.relname,
       pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN bytes ON bytes.oid = a.atttypid
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.reltoastrelid <> 0
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse_quarantine')
  AND pg_catalog.pg_relation_size(c.reltoastrelid) >= 2 * 1024 * 1024
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
GROUP BY 1, 2, 3 ORDER BY 1;
