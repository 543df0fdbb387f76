-- name: resolve
-- A name as a statement wrote it, one part or two, by this session's search_path.
SELECT pg_catalog.to_regclass(
    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' ORDER BY place)
     FROM pg_catalog.unnest(%s::text[]) WITH ORDINALITY AS parts (part, place)))::oid::bigint

-- name: exists
SELECT 1 FROM pg_catalog.pg_class WHERE oid = %s

-- name: indexes
-- key columns by name; '' for an expression, as the parse tree has none there either
SELECT i.indexrelid::bigint, n.nspname, c.relname, i.indisvalid AND i.indisready AND i.indislive,
       ARRAY (SELECT COALESCE(a.attname::text, '')
              FROM pg_catalog.unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
              LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
              WHERE k.place <= i.indnkeyatts ORDER BY k.place)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = %s

-- name: being_built
-- index_relid is 0 until the build has made its catalog entry
SELECT p.pid, a.application_name
FROM pg_catalog.pg_stat_progress_create_index p
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid
WHERE p.relid = %(table)s AND p.index_relid IN (0, %(index)s)
  AND p.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())

-- name: invalid_indexes
SELECT i.indexrelid::bigint, n.nspname, c.relname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid

-- name: partition
SELECT h.inhdetachpending,
       ARRAY[pn.nspname, pc.relname]::text[], ARRAY[cn.nspname, cc.relname]::text[]
FROM pg_catalog.pg_inherits h
JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent
JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
JOIN pg_catalog.pg_class cc ON cc.oid = h.inhrelid
JOIN pg_catalog.pg_namespace cn ON cn.oid = cc.relnamespace
WHERE h.inhparent = %(parent)s AND h.inhrelid = %(partition)s
