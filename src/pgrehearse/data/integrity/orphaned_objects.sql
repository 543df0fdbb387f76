-- name: references
-- Columns that may hold a large object's oid, as vacuumlo knows them: of type oid or lo.
SELECT c.oid::int8, n.nspname::text, c.relname::text, a.attname::text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
  AND (t.oid = 'pg_catalog.oid'::pg_catalog.regtype
       OR t.typtype = 'd' AND t.typname = 'lo' AND t.typbasetype = 'pg_catalog.oid'::pg_catalog.regtype)
  AND (c.relkind = 'r' OR c.relispopulated)
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 2, 3, 4;

-- name: orphans
SELECT m.oid::int8 FROM pg_catalog.pg_largeobject_metadata m
WHERE NOT EXISTS (SELECT FROM ({references}) AS r (oid) WHERE r.oid = m.oid) ORDER BY 1
