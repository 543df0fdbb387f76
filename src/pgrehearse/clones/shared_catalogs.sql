-- The columns of each reading: what it is, its content, the transaction that wrote it, a statement that makes it (or makes
-- it what it is here) and one that removes it; null where no one statement does.

-- name: next_xid
SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8;

-- name: databases
-- Not datfrozenxid and datminmxid, which vacuum moves on.
SELECT 'database ' || d.datname,
       ROW(d.datdba, d.encoding, d.datistemplate, d.datallowconn, d.datconnlimit, d.dattablespace, d.datacl)::pg_catalog.text,
       d.xmin::pg_catalog.text::pg_catalog.int8, NULL, NULL
FROM pg_catalog.pg_database d WHERE d.datname !~ '^pgrehearse_';

-- name: roles
-- Not those that a rehearsal made for itself and drops again: another one may run on this server.  pg_authid is for superusers; pg_roles has no xmin.
SELECT 'role ' || r.rolname,
       ROW(r.oid, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
           r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil)::pg_catalog.text,
       NULL::pg_catalog.int8,
       pg_catalog.format('ALTER ROLE %I %s', r.rolname, pg_catalog.concat_ws(' ',
           CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
           CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
           CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
           CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
           CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
           CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
           CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
           'CONNECTION LIMIT ' || r.rolconnlimit,
           'VALID UNTIL ' || pg_catalog.quote_literal(COALESCE(r.rolvaliduntil::pg_catalog.text, 'infinity')))),
       pg_catalog.format('DROP ROLE %I', r.rolname)
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pgrehearse_'
  AND COALESCE(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') !~ '^made by pgrehearse, clone ';

-- name: roles_as_superuser
SELECT 'role ' || r.rolname,
       ROW(r.oid, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
           r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil, pg_catalog.md5(r.rolpassword))::pg_catalog.text,
       r.xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.format('ALTER ROLE %I %s', r.rolname, pg_catalog.concat_ws(' ',
           CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
           CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
           CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
           CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
           CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
           CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
           CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
           'CONNECTION LIMIT ' || r.rolconnlimit,
           'VALID UNTIL ' || pg_catalog.quote_literal(COALESCE(r.rolvaliduntil::pg_catalog.text, 'infinity')))),
       pg_catalog.format('DROP ROLE %I', r.rolname)
FROM pg_catalog.pg_authid r
WHERE r.rolname !~ '^pgrehearse_'
  AND COALESCE(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') !~ '^made by pgrehearse, clone ';

-- name: memberships
-- Since 16 one membership may have several grantors.
SELECT 'membership of ' || pg_catalog.pg_get_userbyid(m.member) || ' in ' || pg_catalog.pg_get_userbyid(m.roleid)
           || ', granted by ' || pg_catalog.pg_get_userbyid(m.grantor),
       (pg_catalog.to_jsonb(m) - 'oid')::pg_catalog.text, m.xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.format('GRANT %I TO %I%s GRANTED BY %I', pg_catalog.pg_get_userbyid(m.roleid),
                         pg_catalog.pg_get_userbyid(m.member), CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END,
                         pg_catalog.pg_get_userbyid(m.grantor)),
       pg_catalog.format('REVOKE %I FROM %I GRANTED BY %I', pg_catalog.pg_get_userbyid(m.roleid),
                         pg_catalog.pg_get_userbyid(m.member), pg_catalog.pg_get_userbyid(m.grantor))
FROM pg_catalog.pg_auth_members m
WHERE COALESCE(pg_catalog.shobj_description(m.member, 'pg_authid'), '') !~ '^made by pgrehearse, clone '
  AND pg_catalog.pg_get_userbyid(m.member) !~ '^pgrehearse_' AND pg_catalog.pg_get_userbyid(m.roleid) !~ '^pgrehearse_';

-- name: settings
SELECT 'settings of ' || COALESCE('role ' || r.rolname, 'every role') || COALESCE(' in database ' || d.datname, ''),
       s.setconfig::pg_catalog.text, s.xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.concat_ws('; ', w.whose || ' RESET ALL', (
           SELECT pg_catalog.string_agg(pg_catalog.format('%s SET %s TO %s', w.whose, pg_catalog.split_part(c.pair, '=', 1),
               -- A name of one's own may hold a secret.
               CASE WHEN pg_catalog.strpos(pg_catalog.split_part(c.pair, '=', 1), '.') > 0 THEN '''***'''
                    WHEN pg_catalog.split_part(c.pair, '=', 1) IN (
                        'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries')
                    THEN pg_catalog.substr(c.pair, pg_catalog.strpos(c.pair, '=') + 1)
                    ELSE pg_catalog.quote_literal(pg_catalog.substr(c.pair, pg_catalog.strpos(c.pair, '=') + 1)) END), '; ')
           FROM pg_catalog.unnest(s.setconfig) c(pair))),
       w.whose || ' RESET ALL'
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
CROSS JOIN LATERAL (SELECT CASE
        WHEN s.setrole = 0 AND s.setdatabase = 0 THEN 'ALTER ROLE ALL'
        WHEN s.setrole = 0 THEN 'ALTER DATABASE ' || pg_catalog.quote_ident(d.datname)
        ELSE 'ALTER ROLE ' || pg_catalog.quote_ident(r.rolname)
             || COALESCE(' IN DATABASE ' || pg_catalog.quote_ident(d.datname), '') END) w(whose)
WHERE COALESCE(r.rolname, '') !~ '^pgrehearse_' AND COALESCE(d.datname, '') !~ '^pgrehearse_';

-- name: tablespaces
SELECT 'tablespace ' || t.spcname, pg_catalog.to_jsonb(t)::pg_catalog.text, t.xmin::pg_catalog.text::pg_catalog.int8,
       NULL, pg_catalog.format('DROP TABLESPACE %I', t.spcname)
FROM pg_catalog.pg_tablespace t;

-- name: parameters_15
-- Since 15 SET and ALTER SYSTEM on a parameter can be granted.
SELECT 'rights on parameter ' || p.parname, p.paracl::pg_catalog.text, p.xmin::pg_catalog.text::pg_catalog.int8,
       NULL, NULL
FROM pg_catalog.pg_parameter_acl p;

-- name: comments
SELECT 'comment on ' || pg_catalog.pg_describe_object(c.classoid, c.objoid, 0), c.description,
       c.xmin::pg_catalog.text::pg_catalog.int8,
       pg_catalog.format('COMMENT ON %s IS %L', o.written, c.description), pg_catalog.format('COMMENT ON %s IS NULL', o.written)
FROM pg_catalog.pg_shdescription c
CROSS JOIN LATERAL (SELECT pg_catalog.upper(i.type) || ' ' || i.identity
                    FROM pg_catalog.pg_identify_object(c.classoid, c.objoid, 0) i) o(written)
WHERE c.description !~ '^made by pgrehearse, clone ' AND pg_catalog.pg_describe_object(c.classoid, c.objoid, 0) IS NOT NULL;

-- name: labels
SELECT 'security label of ' || pg_catalog.pg_describe_object(l.classoid, l.objoid, 0) || ' by ' || l.provider, l.label,
       l.xmin::pg_catalog.text::pg_catalog.int8, NULL, NULL
FROM pg_catalog.pg_shseclabel l
WHERE pg_catalog.pg_describe_object(l.classoid, l.objoid, 0) IS NOT NULL;
