-- name: parents
WITH RECURSIVE above(oid) AS (
    SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'f'
    UNION
    SELECT i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
)
SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM above JOIN pg_catalog.pg_class c ON c.oid = above.oid AND c.relkind IN ('r', 'p')
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 2, 3;

-- name: others
-- What a plain ANALYZE looks at, but for those; a partition comes with its parent where that is looked at.
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND c.oid <> ALL (%(left_out)s::pg_catalog.oid[])
  AND NOT (c.relispartition AND EXISTS (SELECT FROM pg_catalog.pg_inherits i
                                        WHERE i.inhrelid = c.oid AND i.inhparent <> ALL (%(left_out)s::pg_catalog.oid[])))
ORDER BY c.oid;
