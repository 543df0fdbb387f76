-- name: tables
-- Every table of every namespace that a user made, our own ones too: a backup is whole.  ``held`` says whether a dump
-- holds its rows: an extension's tables are dumped only where the extension registered them, perhaps in part.
-- A heap without a block holds no row.
SELECT c.oid::int8, n.nspname, c.relname,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       c.relkind::text,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.row_security_active(c.oid),
       CASE WHEN c.relkind = 'r' AND am.amname = 'heap' THEN pg_catalog.pg_relation_size(c.oid) END,
       CASE WHEN x.oid IS NULL THEN 'whole'
            WHEN x.extconfig IS NULL OR NOT c.oid = ANY (x.extconfig) THEN 'not'
            WHEN coalesce(x.extcondition[pg_catalog.array_position(x.extconfig, c.oid)], '') = '' THEN 'whole'
            ELSE 'in part' END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: columns
-- A virtual generated column (18) holds nothing; attgenerated = 'v' exists on no older server.
SELECT a.attrelid::int8, a.attnum::int4, a.attname, pg_catalog.quote_ident(a.attname),
       a.atttypid::int8, a.atttypmod, a.attnotnull
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
ORDER BY a.attrelid, a.attnum;

-- name: keys
-- What tells rows apart: unique, valid, immediate, of all rows, over columns that are never NULL.  The primary key
-- first, then by width and name: oids differ after a restore.
SELECT DISTINCT ON (i.indrelid) i.indrelid::int8, (i.indkey::int2[])[0:i.indnkeyatts - 1]::int4[]
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, x.relname COLLATE pg_catalog."C";

-- name: types
-- For each type of a column the type below its domains, and whether casting that to text is a function of its own.
WITH RECURSIVE base(declared, oid) AS (
    SELECT DISTINCT a.atttypid, a.atttypid
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT base.declared, t.typbasetype FROM base JOIN pg_catalog.pg_type t ON t.oid = base.oid WHERE t.typtype = 'd'
)
SELECT base.declared::int8, base.oid::int8,
       EXISTS (SELECT FROM pg_catalog.pg_cast k
               WHERE k.castsource = base.oid AND k.casttarget = 'pg_catalog.text'::pg_catalog.regtype
                 AND k.castmethod = 'f')
FROM base JOIN pg_catalog.pg_type t ON t.oid = base.oid WHERE t.typtype <> 'd';

-- name: sequences
SELECT n.nspname, c.relname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       s.seqincrement, s.seqcycle,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (  -- an extension's sequences are dumped only where it registered them
      SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
        AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        AND NOT c.oid = ANY (coalesce(x.extconfig, '{}')))
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";

-- name: large_object_count
SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata;

-- name: large_objects
-- By what a client reads: a page that was never written reads as zeros, and is there after a restore.  In pieces of a
-- megabyte, each hashed with its place, since one large object can have 4 TB.  INV_READ is 262144.
SELECT COALESCE(pg_catalog.sum(o.content), 0)::pg_catalog.text, COALESCE(pg_catalog.sum(o.closed), 0)
FROM (
    SELECT pg_catalog.hashtextextended(
               pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text || ' ' || s.size::pg_catalog.text || ' '
               || (SELECT COALESCE(pg_catalog.sum(pg_catalog.hash_record_extended(
                       ROW(pg_catalog.lo_get(m.oid, p.place, 1048576)), p.place)), 0)::pg_catalog.text
                   FROM pg_catalog.generate_series(0::pg_catalog.int8, s.size, 1048576) AS p(place)),
               m.oid::pg_catalog.int8) AS content,
           pg_catalog.lo_close(f.descriptor) AS closed
    FROM pg_catalog.pg_largeobject_metadata m
    CROSS JOIN LATERAL (SELECT pg_catalog.lo_open(m.oid, 262144) AS descriptor OFFSET 0) f
    CROSS JOIN LATERAL (SELECT pg_catalog.lo_lseek64(f.descriptor, 0, 2) AS size OFFSET 0) s
) o;
