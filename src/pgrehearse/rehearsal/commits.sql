-- name: truncated
-- The named tables, and with CASCADE those that refer to them by foreign keys, and so on.
WITH RECURSIVE emptied AS (
    SELECT pg_catalog.to_regclass(t.name)::oid AS oid FROM pg_catalog.unnest(%(names)s::text[]) AS t (name)
    UNION
    SELECT k.conrelid FROM emptied JOIN pg_catalog.pg_constraint k ON k.confrelid = emptied.oid
    WHERE %(cascade)s AND k.contype = 'f' AND k.conparentid = 0
)
SELECT n.nspname, c.relname, pg_catalog.format('%%I.%%I', rn.nspname, root.relname)
FROM emptied
JOIN pg_catalog.pg_class c ON c.oid = emptied.oid AND c.relpersistence <> 't'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class root ON root.oid = COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
JOIN pg_catalog.pg_namespace rn ON rn.oid = root.relnamespace
WHERE c.relkind IN ('r', 'p');
