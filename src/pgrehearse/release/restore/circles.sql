-- name: references
-- Foreign keys from table to table, partitions by the root of their tree; through jsonb, since conenforced is new in 18.
-- The action: does deleting the parent's row delete the child's (c), or is it refused at once (r)?
SELECT COALESCE(pg_catalog.pg_partition_root(k.conrelid)::oid, k.conrelid)::int8 AS child,
       COALESCE(pg_catalog.pg_partition_root(k.confrelid)::oid, k.confrelid)::int8 AS parent,
       pg_catalog.bool_or(k.confdeltype IN ('c', 'r'))
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0
  AND pg_catalog.to_jsonb(k)->>'conenforced' IS DISTINCT FROM 'false'
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: tables
-- Each table, a leaf of a partitioned one too, with the root of its tree; the names as the counters of writes have them.
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       r.oid::int8, pg_catalog.quote_ident(rn.nspname) || '.' || pg_catalog.quote_ident(r.relname)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relkind IN ('r', 'p');
