-- name: belongings
-- Entries of a dump that no schema object stands for, and the relation that they come and go with.
SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::oid, d.oid, d.adrelid FROM pg_catalog.pg_attrdef d
UNION ALL
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, i.indexrelid, i.indrelid FROM pg_catalog.pg_index i
WHERE i.indexrelid >= 16384
UNION ALL
SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, c.oid, c.conrelid FROM pg_catalog.pg_constraint c
WHERE c.conrelid >= 16384
UNION ALL
SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid, r.oid, r.ev_class FROM pg_catalog.pg_rewrite r
WHERE r.rulename = '_RETURN' AND r.ev_class >= 16384

-- name: parts
-- A partitioned index or constraint and its copies on the partitions, which pg_dump writes one by one.
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, i.inhparent, i.inhrelid
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind IN ('i', 'I')
UNION ALL
SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, c.conparentid, c.oid
FROM pg_catalog.pg_constraint c WHERE c.conparentid <> 0 AND c.contype IN ('p', 'u', 'x')

-- name: populated
SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'm' AND c.relispopulated

-- name: depending
-- Who depends on whom, as nodes (class, oid, column).  A view stands for its rule, a column for its default,
-- a relation for its row type, a type for its arrays.
WITH node AS (
    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::oid AS class, d.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid AS as_class,
           d.adrelid AS as_oid, d.adnum::int AS as_sub
    FROM pg_catalog.pg_attrdef d
    UNION ALL
    SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, 'pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0
    FROM pg_catalog.pg_rewrite r WHERE r.rulename = '_RETURN'
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 'pg_catalog.pg_class'::pg_catalog.regclass, t.typrelid, 0
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.oid = t.typrelid WHERE c.relkind <> 'c'
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, 'pg_catalog.pg_type'::pg_catalog.regclass, c.reltype, 0
    FROM pg_catalog.pg_class c WHERE c.relkind = 'c'
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.typarray, 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 0
    FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE t.typarray <> 0 AND (t.typrelid = 0 OR c.relkind = 'c')
)
SELECT DISTINCT COALESCE(a.as_class, d.classid), COALESCE(a.as_oid, d.objid), COALESCE(a.as_sub, d.objsubid),
       COALESCE(b.as_class, d.refclassid), COALESCE(b.as_oid, d.refobjid), COALESCE(b.as_sub, d.refobjsubid),
       d.deptype = 'i'
FROM pg_catalog.pg_depend d
LEFT JOIN node a ON a.class = d.classid AND a.oid = d.objid
LEFT JOIN node b ON b.class = d.refclassid AND b.oid = d.refobjid
WHERE d.objid >= 16384 AND d.refobjid >= 16384 AND d.deptype <> 'e'
