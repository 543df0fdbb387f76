-- name: relations
-- What pg_dump locks (tables and partitioned tables) or reads (tables, sequences).  Materialized views are filled
-- again, foreign tables are another server's, and of an extension only what it registered is dumped.  Since 18 a sequence is read by its oid, whatever its namespace allows.
SELECT x.nspname, x.relname, x.relkind, x.usable, x.readable, x.hidden
FROM (
    SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, c.oid,
           (c.relkind = 'S' AND %(sequences_by_oid)s) OR pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usable,
           pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
           c.relkind = 'r' AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid) AS hidden
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse_quarantine')
) x
WHERE (NOT (x.usable AND x.readable) OR x.hidden)
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.oid AND d.objsubid = 0 AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND x.oid <> ALL (COALESCE(e.extconfig, '{}'::pg_catalog.oid[])))
ORDER BY 1, 2;

-- name: large_objects_18
SELECT m.oid::pg_catalog.int8, count(*) OVER () FROM pg_catalog.pg_largeobject_metadata m
WHERE NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')
ORDER BY 1 LIMIT %s;

-- name: large_objects_14
-- Until 17 no function tells it.
SELECT m.oid::pg_catalog.int8, count(*) OVER () FROM pg_catalog.pg_largeobject_metadata m
WHERE pg_catalog.current_setting('lo_compat_privileges') = 'off'
  AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
                  WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
ORDER BY 1 LIMIT %s;
