-- name: rights_16
-- Since 16 SET ROLE is a right of its own, and CREATEROLE reaches only roles that one has ADMIN of.
SELECT r.rolsuper, r.rolcreatedb, pg_catalog.pg_has_role(d.datdba, 'USAGE'), pg_catalog.pg_has_role(d.datdba, 'SET'),
       r.rolname::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
       pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'), r.rolcreaterole
FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = %s AND r.rolname = current_user;

-- name: rights_14
SELECT r.rolsuper, r.rolcreatedb, pg_catalog.pg_has_role(d.datdba, 'USAGE'), pg_catalog.pg_has_role(d.datdba, 'MEMBER'),
       r.rolname::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
       pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'), r.rolcreaterole
FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = %s AND r.rolname = current_user;

-- name: foreign_settings
-- ALTER ROLE ... IN DATABASE of other roles.
SELECT DISTINCT r.rolname::text
FROM pg_catalog.pg_db_role_setting s
JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
WHERE d.datname = %s AND r.rolname <> current_user
  AND (r.rolsuper OR NOT pg_catalog.pg_has_role(r.oid, 'USAGE WITH ADMIN OPTION'))
ORDER BY 1;

-- name: foreign_sessions
-- Sessions that this user may not end: a superuser's, or of roles it is no member of.
SELECT a.pid, a.usename::text, a.application_name
FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE a.datname = %s AND (r.rolsuper
   OR NOT (pg_catalog.pg_has_role(r.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
ORDER BY 1;

-- name: foreign_grantors
SELECT DISTINCT o.rolname::text
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL pg_catalog.aclexplode(d.datacl) a
JOIN pg_catalog.pg_roles o ON o.oid = a.grantor
WHERE d.datname = %s AND a.grantor <> d.datdba AND NOT pg_catalog.pg_has_role(o.oid, 'MEMBER')
ORDER BY 1;

-- name: prepared
SELECT x.gid::text FROM pg_catalog.pg_prepared_xacts x WHERE x.database = %s ORDER BY 1;

-- name: place
SELECT pg_catalog.pg_database_size(d.oid)::int8, pg_catalog.pg_tablespace_location(d.dattablespace),
       pg_catalog.inet_server_addr() IS NULL
FROM pg_catalog.pg_database d WHERE d.datname = %s;
