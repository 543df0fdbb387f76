-- name: tree
-- The tree a partition hangs on, and the columns that decide where a row of it stands, also those inside expressions:
-- on their own table such columns depend internally.
SELECT c.oid::int8, n.nspname, c.relname, pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       ARRAY(
           SELECT a.attname::pg_catalog.text
           FROM pg_catalog.pg_partition_ancestors(l.oid) p
           JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = p.relid
               AND d.objsubid > 0 AND d.refclassid = d.classid AND d.refobjid = d.objid AND d.refobjsubid = 0
               AND d.deptype = 'i'
           JOIN pg_catalog.pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid
       )
FROM pg_catalog.pg_class l
JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.pg_partition_root(l.oid)
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.oid = %(oid)s::int8::oid AND l.relispartition;
