-- name: matviews
SELECT c.oid::int8, n.nspname::text, c.relname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       c.relispopulated, pg_catalog.pg_get_viewdef(c.oid)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: differing_rows
-- Rows of the one that the other has not, counted as often as they stand there.  As text: json has no equality.
SELECT COALESCE(pg_catalog.sum(pg_catalog.abs(n)), 0)::int8
FROM (SELECT pg_catalog.sum(side) AS n
      FROM (SELECT ROW(held.*)::pg_catalog.text COLLATE pg_catalog."C" AS line, 1 AS side FROM {held} AS held
            UNION ALL
            SELECT ROW(now.*)::pg_catalog.text COLLATE pg_catalog."C", -1 FROM ({query}) AS now) AS both_sides
      GROUP BY line HAVING pg_catalog.sum(side) <> 0) AS differing
