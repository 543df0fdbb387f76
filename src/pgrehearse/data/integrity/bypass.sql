-- name: powers
-- By what this role could get past what the server enforces for everybody else.  {replica_role}: since 15.
-- Rights to write to a catalog count for superusers alone, whatever was granted.
SELECT r.rolsuper,
       EXISTS (SELECT FROM pg_catalog.pg_roles s WHERE s.rolsuper AND pg_catalog.pg_has_role(r.oid, s.oid, 'MEMBER')),
       {replica_role},
       (SELECT pg_catalog.format('%I.%I', n.nspname, p.proname)
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
        WHERE p.prosecdef AND o.rolsuper AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
                            AND d.deptype = 'e')
        ORDER BY p.oid LIMIT 1)
FROM pg_catalog.pg_roles r WHERE r.rolname = {role}
