-- Which versions of catalog rows there are.  A row's version is told by where it lies and which transaction wrote it
-- (ctid, xmin): both are the same in a copy made by TEMPLATE, and whatever changes a row but VACUUM's and ANALYZE's numbers,
-- which are not read, writes another version.  A 64-bit hash of them stands for a row, XOR for the rows of one key.
-- XOR is that of all rows whose keys are 32 neighbouring oids: finer, it takes twice as long to make and to compare.
-- All of users' objects; of the server's own `settled` tells.

-- name: keyed
-- catalog of the key, and pairs of key / 32 (8 bytes) and digest (8 bytes), of each seed its own.  The large catalogs one
-- by one: as parts of one union each row of theirs takes twice as long.
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.oid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
      FROM pg_catalog.pg_class r WHERE r.oid >= 16384 GROUP BY 1) k (key, digest)
UNION ALL
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.attrelid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 20))
      FROM pg_catalog.pg_attribute r WHERE r.attnum > 0 AND r.attrelid >= 16384 GROUP BY 1) k (key, digest)
UNION ALL
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.adrelid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 1))
      FROM pg_catalog.pg_attrdef r GROUP BY 1) k (key, digest)
UNION ALL
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.conrelid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 2))
      FROM pg_catalog.pg_constraint r WHERE r.conrelid <> 0 GROUP BY 1) k (key, digest)
UNION ALL
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.indrelid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 3))
      FROM pg_catalog.pg_index r GROUP BY 1) k (key, digest)
UNION ALL
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.seqrelid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 8))
      FROM pg_catalog.pg_sequence r GROUP BY 1) k (key, digest)
UNION ALL
SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.oid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 16))
      FROM pg_catalog.pg_type r WHERE r.oid >= 16384 GROUP BY 1) k (key, digest)
UNION ALL  -- ALTER SEQUENCE ... OWNED BY changes nothing else
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, pg_catalog.string_agg(
    pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (SELECT r.objid::bigint >> 5, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 13))
      FROM pg_catalog.pg_depend r
      WHERE r.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.refclassid = r.classid
        AND r.deptype IN ('a', 'i') AND r.refobjsubid > 0
      GROUP BY 1) k (key, digest)
UNION ALL
SELECT k.class, pg_catalog.string_agg(pg_catalog.int8send(k.key) || pg_catalog.int8send(k.digest), '')
FROM (
    SELECT k.class, k.key::bigint >> 5 AS key, pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(k.xmin_, k.ctid_), k.seed)) AS digest
    FROM (
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid AS class, r.contypid AS key, 2 AS seed, r.xmin AS xmin_,
            r.ctid AS ctid_
        FROM pg_catalog.pg_constraint r WHERE r.contypid > 0  -- by its index
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.inhrelid, 4, r.xmin, r.ctid FROM pg_catalog.pg_inherits r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.tgrelid, 5, r.xmin, r.ctid FROM pg_catalog.pg_trigger r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.polrelid, 6, r.xmin, r.ctid FROM pg_catalog.pg_policy r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 7, r.xmin, r.ctid FROM pg_catalog.pg_rewrite r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.ftrelid, 9, r.xmin, r.ctid
        FROM pg_catalog.pg_foreign_table r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.partrelid, 10, r.xmin, r.ctid
        FROM pg_catalog.pg_partitioned_table r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.stxrelid, 11, r.xmin, r.ctid
        FROM pg_catalog.pg_statistic_ext r
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.prrelid, 12, r.xmin, r.ctid
        FROM pg_catalog.pg_publication_rel r
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, r.oid, 14, r.xmin, r.ctid
        FROM pg_catalog.pg_proc r WHERE r.oid >= 16384
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, r.aggfnoid, 15, r.xmin, r.ctid FROM pg_catalog.pg_aggregate r
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, r.enumtypid, 17, r.xmin, r.ctid FROM pg_catalog.pg_enum r
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, r.rngtypid, 18, r.xmin, r.ctid FROM pg_catalog.pg_range r
        UNION ALL
        SELECT r.classoid, r.objoid, 19, r.xmin, r.ctid FROM pg_catalog.pg_description r WHERE r.objoid >= 16384
    ) k
    GROUP BY 1, 2
) k
GROUP BY k.class;

-- name: settled
-- catalog, digest of all its rows that count here: where one differs, everything is read again.
SELECT 'pg_class', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_class r WHERE r.oid < 16384
UNION ALL
SELECT 'pg_proc', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_proc r WHERE r.oid < 16384 OR r.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
UNION ALL
SELECT 'pg_type', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_type r
WHERE r.oid < 16384 OR (r.typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND r.typtype <> 'c')
UNION ALL
SELECT 'pg_attribute', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_attribute r WHERE r.attrelid < 16384
UNION ALL
SELECT 'members', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_depend r WHERE r.deptype = 'e'
UNION ALL
SELECT 'pg_init_privs', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_init_privs r
UNION ALL
SELECT 'pg_cast', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_cast r
UNION ALL
SELECT 'pg_operator', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_operator r
UNION ALL
SELECT 'pg_opclass', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_opclass r
UNION ALL
SELECT 'pg_opfamily', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_opfamily r
UNION ALL
SELECT 'pg_amop', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_amop r
UNION ALL
SELECT 'pg_amproc', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_amproc r
UNION ALL
SELECT 'pg_collation', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_collation r
UNION ALL
SELECT 'pg_conversion', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_conversion r
UNION ALL
SELECT 'pg_ts_config', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_ts_config r
UNION ALL
SELECT 'pg_ts_config_map', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_ts_config_map r
UNION ALL
SELECT 'pg_ts_dict', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_ts_dict r
UNION ALL
SELECT 'pg_ts_parser', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_ts_parser r
UNION ALL
SELECT 'pg_ts_template', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_ts_template r
UNION ALL
SELECT 'pg_language', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_language r
UNION ALL
SELECT 'pg_transform', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_transform r
UNION ALL
SELECT 'pg_am', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_am r
UNION ALL
SELECT 'pg_foreign_data_wrapper', pg_catalog.count(*),
    pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_foreign_data_wrapper r
UNION ALL
SELECT 'pg_foreign_server', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_foreign_server r
UNION ALL
SELECT 'pg_extension', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_extension r
UNION ALL
SELECT 'pg_seclabel', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_seclabel r
UNION ALL
SELECT 'pg_publication', pg_catalog.count(*), pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_publication r
UNION ALL
SELECT 'pg_publication_namespace', pg_catalog.count(*),
    pg_catalog.bit_xor(pg_catalog.hash_record_extended(ROW(r.xmin, r.ctid), 0))
FROM pg_catalog.pg_publication_namespace r;

-- name: names
-- Namespaces and roles: their names stand in other objects' texts.
SELECT 'namespace', n.oid, n.nspname FROM pg_catalog.pg_namespace n
UNION ALL
SELECT 'role', r.oid, r.rolname FROM pg_catalog.pg_roles r;

-- name: reached
-- What was changed, and all whose text may name it: whatever depends on it, on that again, and so on.  The pairs of
-- %(classes)s and %(oids)s; answered with the relation, type or function that each is read with (catalog, oid).
WITH RECURSIVE reached AS (
    SELECT u.class, u.oid
    FROM ROWS FROM (pg_catalog.unnest(%(classes)s::oid[]), pg_catalog.unnest(%(oids)s::oid[])) AS u (class, oid)
    UNION
    SELECT e.class, e.oid
    FROM reached r CROSS JOIN LATERAL (
        SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.refclassid = r.class AND d.refobjid = r.oid
        UNION ALL  -- a composite type's relation depends on the type, and its columns are the type's
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid, c.reltype FROM pg_catalog.pg_class c
        WHERE r.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = r.oid AND c.relkind = 'c'
    ) e (class, oid)
)
SELECT DISTINCT o.class, o.oid
FROM reached r CROSS JOIN LATERAL (
    SELECT r.class, r.oid
    WHERE r.class IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
                      'pg_catalog.pg_proc'::pg_catalog.regclass)
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indrelid FROM pg_catalog.pg_index i
    WHERE r.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = r.oid
    UNION ALL  -- of a TOAST table
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, d.refobjid FROM pg_catalog.pg_depend d
    WHERE r.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.classid = r.class AND d.objid = r.oid
      AND d.refclassid = r.class AND d.deptype = 'i'
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, k.conrelid FROM pg_catalog.pg_constraint k
    WHERE r.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, k.contypid FROM pg_catalog.pg_constraint k
    WHERE r.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, d.adrelid FROM pg_catalog.pg_attrdef d
    WHERE r.class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, t.tgrelid FROM pg_catalog.pg_trigger t
    WHERE r.class = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, p.polrelid FROM pg_catalog.pg_policy p
    WHERE r.class = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, w.ev_class FROM pg_catalog.pg_rewrite w
    WHERE r.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, s.stxrelid FROM pg_catalog.pg_statistic_ext s
    WHERE r.class = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass AND s.oid = r.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, p.prrelid FROM pg_catalog.pg_publication_rel p
    WHERE r.class = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass AND p.oid = r.oid
) o (class, oid)
WHERE o.oid <> 0;
