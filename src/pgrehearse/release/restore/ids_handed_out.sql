-- name: sequences
-- With the columns that take their numbers: by ownership (serial: a, identity: i), or by a default that names it.
SELECT s.seqrelid::int8, n.nspname::text, c.relname::text, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle,
       ARRAY(
           SELECT ARRAY[tn.nspname::text, t.relname::text, a.attname::text]
           FROM (SELECT d.refobjid AS relid, d.refobjsubid AS attnum FROM pg_catalog.pg_depend d
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
                   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
                   AND d.refobjsubid > 0
                 UNION
                 SELECT f.adrelid, f.adnum FROM pg_catalog.pg_depend d
                 JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
                 WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid) AS u
           JOIN pg_catalog.pg_class t ON t.oid = u.relid
           JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
           JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = u.attnum
           WHERE a.atttypid IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype,
                                'numeric'::pg_catalog.regtype)
           ORDER BY 1)
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse')
ORDER BY n.nspname COLLATE pg_catalog."C", c.relname COLLATE pg_catalog."C";
