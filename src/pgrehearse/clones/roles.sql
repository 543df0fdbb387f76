-- name: roles
-- pg_roles, not pg_authid: everybody may read it.  pg_* are the server's own and exist everywhere.
SELECT r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
       r.rolreplication, r.rolbypassrls, r.oid = 10
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pg_'
ORDER BY 1;

-- name: memberships_16
-- Since 16 a membership says apart whether it inherits and whether SET ROLE is allowed; several grantors may
-- have granted the same one, and the strongest counts.
SELECT r.rolname::text, m.rolname::text, bool_or(a.admin_option), bool_or(a.inherit_option), bool_or(a.set_option)
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE m.rolname !~ '^pg_'
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: memberships_14
-- Until 15 the member's INHERIT attribute decides, and SET ROLE is always allowed.
SELECT r.rolname::text, m.rolname::text, bool_or(a.admin_option), bool_or(m.rolinherit), true
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles r ON r.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE m.rolname !~ '^pg_'
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: settings
-- ALTER ROLE ... SET, ALTER DATABASE ... SET, ALTER ROLE ... IN DATABASE ... SET, as far as they reach this database.
SELECT CASE WHEN s.setrole <> 0 THEN r.rolname::text END, s.setdatabase <> 0,
       split_part(c.setting, '=', 1), substr(c.setting, strpos(c.setting, '=') + 1)
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL unnest(s.setconfig) c(setting)
WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()))
ORDER BY s.setdatabase, 1, 3;

-- name: not_logged
-- A statement that holds a custom parameter's value stands in no log of the server, if a superuser sends it.
SELECT pg_catalog.set_config(s.name, s.value, true)
FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_duration_sample', '-1'),
             ('log_transaction_sample_rate', '0'), ('log_min_messages', 'panic'),
             ('log_min_error_statement', 'panic')) s (name, value)
WHERE (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);

-- name: needed
-- Roles that objects of this database name: owners, grantees and grantors, policies, default privileges,
-- the database's own owner and privileges, and those with settings in it.  The bootstrap superuser (oid 10)
-- is pinned, so pg_shdepend never names it: it counts when it owns anything that a user made.
SELECT DISTINCT r.rolname::text
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pg_' AND (
    r.oid IN (
        SELECT s.refobjid FROM pg_catalog.pg_shdepend s, pg_catalog.pg_database d
        WHERE d.datname = current_database() AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
          AND (s.dbid = d.oid
               OR (s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = d.oid))
          AND s.classid <> 'pg_catalog.pg_user_mapping'::pg_catalog.regclass)
    OR r.oid IN (SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = current_database())
    OR r.oid IN (
        SELECT s.setrole FROM pg_catalog.pg_db_role_setting s, pg_catalog.pg_database d
        WHERE d.datname = current_database() AND s.setdatabase = d.oid)
    OR (r.oid = 10 AND (
        EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relowner = 10 AND c.oid >= 16384
                AND c.relkind NOT IN ('i', 'I', 't')
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = c.oid AND e.deptype = 'e'))
        OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proowner = 10 AND p.oid >= 16384
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e'))
        OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typowner = 10 AND t.oid >= 16384 AND t.typrelid = 0
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = t.oid AND e.deptype = 'e'))
        OR EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspowner = 10 AND n.oid >= 16384
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = n.oid AND e.deptype = 'e')))))
ORDER BY 1;

-- name: database_privileges
-- One row for each grant; a null ACL means PostgreSQL's defaults and yields none.
SELECT CASE WHEN a.grantee <> 0 THEN r.rolname::text END, a.privilege_type, a.is_grantable
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) a
LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
WHERE d.datname = current_database()
ORDER BY 1 NULLS FIRST, 2;

-- name: database
SELECT r.rolname::text, d.datacl IS NOT NULL
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
WHERE d.datname = current_database();
