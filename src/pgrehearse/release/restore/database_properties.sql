-- name: database
SELECT d.oid::int8, r.rolname::text, d.datallowconn, d.datconnlimit, d.datistemplate, t.spcname::text,
       pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL
FROM pg_catalog.pg_database d
JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = %s;

-- name: grants
-- Where there are none, PostgreSQL's defaults: written out, since nothing turns a list back into none.
SELECT CASE WHEN a.grantee <> 0 THEN e.rolname::text END, o.rolname::text, a.privilege_type, a.is_grantable
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
LEFT JOIN pg_catalog.pg_roles e ON e.oid = a.grantee
JOIN pg_catalog.pg_roles o ON o.oid = a.grantor
WHERE d.datname = %s
ORDER BY a.grantor <> d.datdba, 1 NULLS FIRST, 3;

-- name: settings
SELECT CASE WHEN s.setrole <> 0 THEN r.rolname::text END,
       pg_catalog.split_part(c.setting, '=', 1), pg_catalog.substr(c.setting, pg_catalog.strpos(c.setting, '=') + 1)
FROM pg_catalog.pg_db_role_setting s
JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY c(setting, number)
WHERE d.datname = %s
ORDER BY 1 NULLS FIRST, c.number;

-- name: labels
SELECT l.provider::text, l.label::text
FROM pg_catalog.pg_shseclabel l JOIN pg_catalog.pg_database d ON d.oid = l.objoid
WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = %s
ORDER BY 1;
