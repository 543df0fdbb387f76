-- name: relations
-- With the primary key's columns; whether their values may be told: numbers, times and identifiers, never text.
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       (SELECT i.inhparent::int8 FROM pg_catalog.pg_inherits i WHERE c.relispartition AND i.inhrelid = c.oid),
       COALESCE(k.names, '{}'::text[]), COALESCE(k.may_tell, false)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT pg_catalog.array_agg(a.attname::text ORDER BY p.place) AS names,
           pg_catalog.bool_and(a.atttypid IN (
               'int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype,
               'numeric'::pg_catalog.regtype, 'oid'::pg_catalog.regtype, 'uuid'::pg_catalog.regtype,
               'date'::pg_catalog.regtype, 'timestamp'::pg_catalog.regtype, 'timestamptz'::pg_catalog.regtype
           )) AS may_tell
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY p(number, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.number
    WHERE i.indrelid = c.oid AND i.indisprimary
) k ON true
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: constraints
-- Of tables.  {enforced} and {period} are columns since 18.  A partition's copy of a foreign key is not asked alone.
SELECT con.oid::int8, con.contype::text, pg_catalog.quote_ident(con.conname), con.conrelid::int8, con.confrelid::int8,
       con.convalidated, {enforced}, {period},
       con.confmatchtype = 'f', con.confdeltype IN ('c', 'n', 'd') OR con.confupdtype IN ('c', 'n', 'd'),
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(con.conkey) WITH ORDINALITY k(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(con.confkey) WITH ORDINALITY k(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
             FROM pg_catalog.unnest(CASE con.contype WHEN 'f' THEN con.conpfeqop ELSE con.conexclop END)
                  WITH ORDINALITY k(oid, place)
             JOIN pg_catalog.pg_operator o ON o.oid = k.oid
             JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace ORDER BY k.place),
       COALESCE(con.conkey::int4[], '{{}}'), COALESCE(con.confkey::int4[], '{{}}'), con.conindid::int8,
       CASE WHEN con.contype = 'c' THEN pg_catalog.pg_get_expr(con.conbin, con.conrelid) END
FROM pg_catalog.pg_constraint con
JOIN pg_catalog.pg_class c ON c.oid = con.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE con.contype IN ('f', 'c', 'n', 'x', 'p', 'u') AND NOT (con.contype = 'f' AND con.conparentid <> 0)
  AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY con.oid;

-- name: indexes
-- Those that promise something, and those that hold what an expression gave.  {nulls_equal} is a column since 15.
SELECT i.indexrelid::int8, c.relname::text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       i.indrelid::int8, i.indisunique, {nulls_equal}, i.indisvalid, i.indisready AND i.indislive,
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, false)
             FROM pg_catalog.generate_series(1, i.indnkeyatts::int4) k),
       ARRAY(SELECT CASE WHEN l.oid IS NOT NULL THEN pg_catalog.format('%%I.%%I', ln.nspname, l.collname) END
             FROM pg_catalog.unnest((i.indcollation::oid[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k(oid, place)
             LEFT JOIN pg_catalog.pg_collation l ON l.oid = k.oid
             LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace ORDER BY k.place),
       pg_catalog.pg_get_expr(i.indpred, i.indrelid),
       i.indexprs IS NOT NULL OR i.indpred IS NOT NULL,
       pg_catalog.pg_relation_filenode(c.oid)::int8, am.amname::text
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE t.relkind = 'r' AND c.relpersistence <> 't'
  AND (i.indisunique OR i.indisexclusion OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
       OR i.indrelid = ANY (%(touched)s::int8[]::oid[]) OR NOT (i.indisvalid AND i.indisready AND i.indislive))
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY i.indexrelid;

-- name: columns
-- Those that promise something by themselves: not null (of touched tables), generated and stored, of a domain or enum.
SELECT a.attrelid::int8, a.attnum::int4, a.attname::text, a.attnotnull,
       d.oid::int8, CASE WHEN a.attgenerated = 's' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
       CASE 'd' WHEN t.typtype THEN t.oid::int8 WHEN e.typtype THEN e.oid::int8 END, COALESCE(e.typtype = 'd', false),
       CASE t.typtype WHEN 'e' THEN t.oid::int8 END
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = 's'
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
  AND ((a.attnotnull AND a.attrelid = ANY (%(touched)s::int8[]::oid[])) OR a.attgenerated = 's' OR t.typtype IN ('d', 'e') OR e.typtype = 'd')
ORDER BY a.attrelid, a.attnum;

-- name: domains
-- Each with the type below all domains, and its own constraints only.  VALUE is printed as a plain name.
WITH RECURSIVE below (oid, base, typmod) AS (
    SELECT t.oid, t.typbasetype, t.typtypmod FROM pg_catalog.pg_type t WHERE t.typtype = 'd'
    UNION ALL
    SELECT b.oid, t.typbasetype, CASE WHEN b.typmod < 0 THEN t.typtypmod ELSE b.typmod END
    FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype = 'd'
)
SELECT t.oid::int8, pg_catalog.format_type(t.oid, NULL), t.typbasetype::int8, t.typnotnull,
       (SELECT pg_catalog.format_type(b.base, NULL) FROM below b JOIN pg_catalog.pg_type u ON u.oid = b.base
        WHERE b.oid = t.oid AND u.typtype <> 'd'),
       con.oid::int8, con.conname::text, con.convalidated, pg_catalog.pg_get_expr(con.conbin, 0)
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_constraint con ON con.contypid = t.oid AND con.contype = 'c'
WHERE t.typtype = 'd' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY t.oid, con.oid;

-- name: labels
SELECT e.enumtypid::int8, pg_catalog.format_type(e.enumtypid, NULL), pg_catalog.array_agg(e.oid::int8)
FROM pg_catalog.pg_enum e GROUP BY e.enumtypid;

-- name: bounds
-- What the rows of these leaves must satisfy, with what their ancestors ask of them.
SELECT r.oid, pg_catalog.pg_get_partition_constraintdef(r.oid::oid)
FROM pg_catalog.unnest(%(leaves)s::int8[]) AS r (oid);

-- name: row_triggers
-- A row-level BEFORE trigger on UPDATE or DELETE can keep a cascade from happening.
SELECT DISTINCT t.tgrelid::int8 FROM pg_catalog.pg_trigger t
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
  AND t.tgtype & 1 = 1 AND t.tgtype & 2 = 2 AND t.tgtype & 24 <> 0;
