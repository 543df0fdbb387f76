-- name: extension
SELECT n.nspname::text
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements';

-- name: statements
-- Through JSON, since the view's columns differ by the extension's version, which may be older than the server
-- (total_time until 1.7).  Statements inside functions are in it too, where it tracks them.
SELECT r.rolname::pg_catalog.text, q.entry ->> 'query', (q.entry ->> 'calls')::pg_catalog.int8,
       (q.entry ->> 'rows')::pg_catalog.int8,
       coalesce(q.entry ->> 'total_exec_time', q.entry ->> 'total_time')::pg_catalog.float8
FROM (SELECT s.userid, pg_catalog.to_jsonb(s) AS entry FROM {view} s
      WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d
                      WHERE d.datname = pg_catalog.current_database())) q
LEFT JOIN pg_catalog.pg_roles r ON r.oid = q.userid;

-- name: role_settings
-- What a session of each role in this database starts with, the more special setting last.
SELECT r.rolname::pg_catalog.text, c.setting
FROM pg_catalog.pg_db_role_setting s
JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c(setting)
WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d
                            WHERE d.datname = pg_catalog.current_database()))
ORDER BY s.setdatabase <> 0;
