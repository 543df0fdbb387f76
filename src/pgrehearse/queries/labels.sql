-- name: relations
-- Every relation that a plan may name, with the root of its partition tree; an index with its table.
SELECT c.oid, n.nspname::text, c.relname::text, i.indrelid,
       CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid END,
       c.relispartition AND c.relpages = 0 AND c.relkind = 'r'
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'm', 'f', 'i', 'I') AND n.nspname !~ '^pg_(toast|temp)';

-- name: definitions
-- What an index is for the planner, apart from its name and its table's: method, columns, predicate.
SELECT i.indexrelid, pg_catalog.substring(pg_catalog.pg_get_indexdef(i.indexrelid), ' USING (.*)$')
FROM pg_catalog.pg_index i
WHERE i.indexrelid = ANY(%s::pg_catalog.oid[]);
