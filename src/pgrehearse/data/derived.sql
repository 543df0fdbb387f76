-- name: derived
-- Populated materialized views, and tables with stored generated columns (a partition holds its own rows), each column
-- list in the order of the table.  Names as a trace of statements has them.
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       a.generated, a.others
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT COALESCE(pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum)
                    FILTER (WHERE a.attgenerated = 's'), '{}') AS generated,
           COALESCE(pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum)
                    FILTER (WHERE a.attgenerated = ''), '{}') AS others
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) a
WHERE ((c.relkind = 'm' AND c.relispopulated) OR (c.relkind = 'r' AND a.generated <> '{}'))
  AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";
