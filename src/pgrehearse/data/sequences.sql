-- name: sequences
SELECT s.seqrelid::int8, n.nspname, c.relname,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       s.seqincrement, s.seqmin, s.seqmax, s.seqcycle,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: fed
-- The columns that each sequence numbers: its owner (serial: deptype a, identity: i), and whoever has a plain nextval()
-- of it as default.  nextval('name'::text) leaves no dependency: its name is looked up as the table's namespace would.
-- A default that makes something else of the number (a text, a multiple) is not compared with it.  A default
-- names no column, so it is turned into text as of no table: else it takes as long as the table has columns, squared.
WITH defaults AS (
    SELECT d.oid, d.adrelid, d.adnum,
           CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, 0) END AS expression
    FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE a.attgenerated = '' AND d.adrelid >= 16384
      AND pg_catalog.strpos(
          d.adbin::pg_catalog.text,
          pg_catalog.concat(':funcid ', 'pg_catalog.nextval(pg_catalog.regclass)'::pg_catalog.regprocedure::oid, ' ')
      ) > 0
), numbered AS (
    SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
    FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND d.deptype IN ('a', 'i')
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
    UNION
    SELECT d.refobjid, def.adrelid, def.adnum
    FROM defaults def
    JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = def.oid
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.refobjid
    WHERE def.expression ~ '^\(?nextval\(''.*''::regclass\)\)?(::(smallint|integer|bigint|numeric))?$'
    UNION
    SELECT COALESCE(pg_catalog.to_regclass(quoted.name),
                    pg_catalog.to_regclass(pg_catalog.quote_ident(n.nspname) || '.' || quoted.name))::oid,
           def.adrelid, def.adnum
    FROM defaults def
    JOIN pg_catalog.pg_class c ON c.oid = def.adrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT pg_catalog.replace(
            pg_catalog.substring(def.expression, '^\(?nextval\(\(''([^\\]*)''::text\)::regclass\)\)?(?:::\w+)?$'),
            '''''', '''')
    ) AS quoted (name)
    WHERE quoted.name IS NOT NULL
)
SELECT f.sequence::int8, n.nspname, t.relname, a.attname,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.relname),
       pg_catalog.quote_ident(a.attname),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(t.oid, 'SELECT')
           AND NOT pg_catalog.row_security_active(t.oid)
FROM numbered f
JOIN pg_catalog.pg_attribute a ON a.attrelid = f.relation AND a.attnum = f.number AND NOT a.attisdropped
 AND a.atttypid IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype,
                    'numeric'::pg_catalog.regtype)
JOIN pg_catalog.pg_class t ON t.oid = a.attrelid AND t.relkind IN ('r', 'p') AND t.relpersistence <> 't'
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE f.sequence IS NOT NULL
ORDER BY 1, 5, 6
