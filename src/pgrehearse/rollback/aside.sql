-- name: tables
-- Those that hold rows of their own.
SELECT n.nspname, c.relname, c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.oid = pg_catalog.to_regclass(%s)

-- name: column
-- What every row had at once when the column was added is nobody's writing: its missing value, its constant default.
SELECT a.attname, a.attgenerated <> '' OR a.attidentity <> '', pg_catalog.format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END,
       (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
        WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) !~ '[(]'),
       (SELECT ARRAY(SELECT k.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute k
                     ON k.attrelid = i.indrelid AND k.attnum = ANY (i.indkey)
                     WHERE i.indrelid = a.attrelid AND i.indisprimary ORDER BY k.attnum))::text[]
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = %s::int8::oid AND pg_catalog.quote_ident(a.attname) = %s AND NOT a.attisdropped

-- name: own_types
-- A type that goes with the plan must not hold a copy back: such a column is kept as text.
SELECT a.attname, t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
