-- name: table
-- FORCE ROW LEVEL SECURITY binds the owner too.
SELECT n.nspname, c.relname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       am.amname = 'heap', c.relrowsecurity AND c.relforcerowsecurity
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.oid = %(oid)s::int8::oid AND c.relkind = 'r';

-- name: columns
-- The type below all domains; one of PostgreSQL's own is below the first oid that users get.
WITH RECURSIVE below (number, oid, typmod, depth) AS (
    SELECT a.attnum, a.atttypid, a.atttypmod, 0
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %(oid)s::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.number, t.typbasetype, t.typtypmod, b.depth + 1
    FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.oid
    WHERE t.typtype = 'd'
), base AS (
    SELECT DISTINCT ON (b.number) b.number, b.oid, b.typmod FROM below b ORDER BY b.number, b.depth DESC
)
SELECT a.attname, a.attnum::int4, pg_catalog.format_type(a.atttypid, a.atttypmod), base.oid::int8,
       CASE WHEN base.oid < 16384 THEN pg_catalog.format_type(base.oid, base.typmod) ELSE 'pg_catalog.text' END,
       base.oid < 16384, base.oid >= 16384 OR t.typcollation <> 0, a.attgenerated <> ''
FROM base
JOIN pg_catalog.pg_attribute a ON a.attrelid = %(oid)s::int8::oid AND a.attnum = base.number
JOIN pg_catalog.pg_type t ON t.oid = base.oid
ORDER BY a.attnum;
