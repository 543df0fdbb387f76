-- name: relations
-- Tables, partitioned tables and foreign tables of a user's namespaces.  Left out: temporary ones (gone
-- with their session) and our own namespace.  Extensions' tables hold data like any other.
SELECT c.oid::int8, n.nspname, c.relname,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       c.relkind::text,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.row_security_active(c.oid),
       (SELECT i.inhparent::int8 FROM pg_catalog.pg_inherits i WHERE c.relispartition AND i.inhrelid = c.oid),
       c.relkind = 'r' AND am.amname = 'heap' AND am.oid < 16384,
       CASE WHEN c.relkind = 'r' THEN COALESCE(pg_catalog.pg_relation_size(c.oid), 0) ELSE 0 END,
       pg_catalog.pg_relation_filenode(c.oid)::int8,
       CASE WHEN c.reltoastrelid <> 0 THEN pg_catalog.pg_relation_filenode(c.reltoastrelid)::int8 END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r', 'p', 'f')
  AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: columns
-- Last what decides how its stored bytes are read: the value that rows older than the column have, and the expression
-- of a column that is generated when it is read (since 18).
SELECT a.attrelid::int8, a.attnum::int4, a.attname, pg_catalog.quote_ident(a.attname),
       a.atttypid::int8, a.atttypmod, a.attnotnull,
       ARRAY[a.attlen::text, a.attbyval::text, a.attalign::text, a.attcollation::text, a.attgenerated::text,
             a.attmissingval::text,
             CASE WHEN a.attgenerated = 'v'
                  THEN (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
                        WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END]::text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum;

-- name: keys
-- What may tell rows apart: unique, valid, immediate, over plain columns, of all rows.  The primary key first.
SELECT i.indrelid::int8, (i.indkey::int2[])[0:i.indnkeyatts - 1]::int4[]
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid;

-- name: types
-- Every type that a column has, with what it is made of, and the types asked for (%(wanted)s: the other
-- side's, to learn whether they still exist here).
WITH RECURSIVE used(oid) AS (
    SELECT a.atttypid
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname !~ '^pg_'
    UNION
    SELECT pg_catalog.unnest(%(wanted)s::int8[])::pg_catalog.oid
    UNION
    SELECT part.oid
    FROM used
    JOIN pg_catalog.pg_type t ON t.oid = used.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype
        UNION ALL SELECT t.typelem
        UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
        UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) part(oid)
    WHERE part.oid <> 0
)
SELECT t.oid::int8, pg_catalog.format_type(t.oid, NULL), t.typtype::text, t.typcategory::text,
       t.typbasetype::int8, t.typtypmod,
       CASE WHEN t.typcategory = 'A' THEN t.typelem::int8 ELSE 0 END,
       COALESCE((SELECT r.rngsubtype::int8 FROM pg_catalog.pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)), 0),
       EXISTS (SELECT FROM pg_catalog.pg_cast k
               WHERE k.castsource = t.oid AND k.casttarget = 'pg_catalog.text'::pg_catalog.regtype AND k.castmethod = 'f'),
       ARRAY(SELECT a.attnum::int4 FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.atttypid::int8 FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.atttypmod FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT e.oid::int8 FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.oid),
       ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.oid),
       ARRAY[t.typlen::text, t.typbyval::text, t.typalign::text, t.typndims::text, t.typcollation::text,
             t.typoutput::oid::text,
             (SELECT ROW(p.prolang, p.prosrc, p.probin, p.proconfig)::text FROM pg_catalog.pg_proc p
              WHERE p.oid = t.typoutput AND p.oid >= 16384)]::text
FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid;
