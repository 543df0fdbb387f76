-- name: next_xid
SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8;

-- name: databases
-- Not datfrozenxid and datminmxid, which vacuum moves on.
SELECT 'database ' || d.datname,
       ROW(d.datdba, d.encoding, d.datistemplate, d.datallowconn, d.datconnlimit, d.dattablespace, d.datacl)::pg_catalog.text,
       d.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_database d WHERE d.datname !~ '^pgrehearse_';

-- name: roles
-- Not those that a rehearsal made for itself and drops again: another one may run on this server.  pg_authid is for superusers; pg_roles has no xmin.
SELECT 'role ' || r.rolname,
       ROW(r.oid, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
           r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil)::pg_catalog.text,
       NULL::pg_catalog.int8
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pgrehearse_'
  AND COALESCE(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') !~ '^made by pgrehearse, clone ';

-- name: roles_as_superuser
SELECT 'role ' || r.rolname,
       ROW(r.oid, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
           r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil, pg_catalog.md5(r.rolpassword))::pg_catalog.text,
       r.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_authid r
WHERE r.rolname !~ '^pgrehearse_'
  AND COALESCE(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') !~ '^made by pgrehearse, clone ';

-- name: memberships
-- Since 16 one membership may have several grantors.
SELECT 'membership of ' || pg_catalog.pg_get_userbyid(m.member) || ' in ' || pg_catalog.pg_get_userbyid(m.roleid)
           || ', granted by ' || pg_catalog.pg_get_userbyid(m.grantor),
       (pg_catalog.to_jsonb(m) - 'oid')::pg_catalog.text, m.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_auth_members m
WHERE COALESCE(pg_catalog.shobj_description(m.member, 'pg_authid'), '') !~ '^made by pgrehearse, clone '
  AND pg_catalog.pg_get_userbyid(m.member) !~ '^pgrehearse_' AND pg_catalog.pg_get_userbyid(m.roleid) !~ '^pgrehearse_';

-- name: settings
SELECT 'settings of ' || COALESCE('role ' || r.rolname, 'every role') || COALESCE(' in database ' || d.datname, ''),
       s.setconfig::pg_catalog.text, s.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
WHERE COALESCE(r.rolname, '') !~ '^pgrehearse_' AND COALESCE(d.datname, '') !~ '^pgrehearse_';

-- name: tablespaces
SELECT 'tablespace ' || t.spcname, pg_catalog.to_jsonb(t)::pg_catalog.text, t.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_tablespace t;

-- name: parameters_15
-- Since 15 SET and ALTER SYSTEM on a parameter can be granted.
SELECT 'rights on parameter ' || p.parname, p.paracl::pg_catalog.text, p.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_parameter_acl p;

-- name: comments
SELECT 'comment on ' || pg_catalog.pg_describe_object(c.classoid, c.objoid, 0), c.description,
       c.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_shdescription c
WHERE c.description !~ '^made by pgrehearse, clone ' AND pg_catalog.pg_describe_object(c.classoid, c.objoid, 0) IS NOT NULL;

-- name: labels
SELECT 'security label of ' || pg_catalog.pg_describe_object(l.classoid, l.objoid, 0) || ' by ' || l.provider, l.label,
       l.xmin::pg_catalog.text::pg_catalog.int8
FROM pg_catalog.pg_shseclabel l
WHERE pg_catalog.pg_describe_object(l.classoid, l.objoid, 0) IS NOT NULL;
