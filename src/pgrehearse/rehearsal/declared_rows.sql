-- name: relations
-- Whatever carries one of these names, outside of PostgreSQL's own namespaces and ours.  A partition's rows are counted
-- at its root while they are written, and at the leaves when they are compared.
SELECT c.oid::pg_catalog.int8, n.nspname, c.relname, c.relkind::pg_catalog.text,
       pg_catalog.format('%%I.%%I', n.nspname, c.relname),
       (SELECT pg_catalog.format('%%I.%%I', rn.nspname, r.relname)
        FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
        WHERE r.oid = COALESCE(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid)),
       CASE WHEN c.relkind = 'p' THEN ARRAY(
           SELECT pg_catalog.format('%%I.%%I', ln.nspname, l.relname)
           FROM pg_catalog.pg_partition_tree(c.oid) t
           JOIN pg_catalog.pg_class l ON l.oid = t.relid
           JOIN pg_catalog.pg_namespace ln ON ln.oid = l.relnamespace
           WHERE t.isleaf AND l.oid <> c.oid)
       ELSE ARRAY[pg_catalog.format('%%I.%%I', n.nspname, c.relname)] END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND (c.relname = ANY (%(names)s) OR c.oid = ANY (%(oids)s::pg_catalog.oid[]))
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY n.nspname COLLATE "C";

-- name: columns
SELECT a.attnum::pg_catalog.int4, a.attname, pg_catalog.quote_ident(a.attname),
       pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = %(oid)s::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: keys
-- What may tell rows apart: unique, valid, immediate, over plain columns, of all rows.  The primary key first.
SELECT (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]::pg_catalog.int4[]
FROM pg_catalog.pg_index i
WHERE i.indrelid = %(oid)s::pg_catalog.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid;
