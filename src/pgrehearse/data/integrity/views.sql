-- name: views
-- With the names of their columns.  An extension's come with its version.
SELECT c.oid::int8, n.nspname::text, c.relname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       c.relkind = 'm', pg_catalog.pg_get_viewdef(c.oid),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: tables_by_name
-- With the names of their columns by number; one without columns is left out.
SELECT c.oid::int8, n.nspname::text, c.relname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       (SELECT pg_catalog.jsonb_object_agg(a.attnum, a.attname) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) = ANY (%s)
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped);

-- name: tables_by_oid
SELECT c.oid::int8, n.nspname::text, c.relname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       (SELECT pg_catalog.jsonb_object_agg(a.attnum, a.attname) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.oid = ANY (%s::pg_catalog.oid[]);

-- name: shown_rows
-- Rows that the old query gives and the new one does not, and the reverse, counted as often as they stand there; and
-- all that the old one gives.  As text: json has no equality.
SELECT COALESCE(pg_catalog.sum(n) FILTER (WHERE n > 0), 0)::int8,
       COALESCE(- pg_catalog.sum(n) FILTER (WHERE n < 0), 0)::int8,
       COALESCE(pg_catalog.sum(old_rows), 0)::int8
FROM (SELECT pg_catalog.sum(side) AS n, pg_catalog.count(*) FILTER (WHERE side = 1) AS old_rows
      FROM (SELECT ROW({columns})::pg_catalog.text COLLATE pg_catalog."C" AS line, 1 AS side FROM ({before}) AS shown
            UNION ALL
            SELECT ROW({columns})::pg_catalog.text COLLATE pg_catalog."C", -1 FROM ({after}) AS shown) AS both_sides
      GROUP BY line) AS differing;

-- name: all_shown
-- One number for all rows, in whatever order.
SELECT pg_catalog.count(*)::int8,
       COALESCE(pg_catalog.sum(pg_catalog.hashtextextended(
           ROW({columns})::pg_catalog.text COLLATE pg_catalog."C", 0)::pg_catalog.numeric), 0)::pg_catalog.text
FROM ({query}) AS shown;
