-- name: boundary
-- The first transaction id that is still to be given out: whatever is written from now on has it or a later one.
SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8;

-- name: others
-- Who else is in this database.  Without a right to see more, a session's kind is NULL; autovacuum writes no row.
SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
WHERE a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
  AND a.backend_type IS DISTINCT FROM 'parallel worker';

-- name: counters
SELECT c.oid::int8,
       ARRAY[pg_catalog.pg_stat_get_tuples_inserted(c.oid), pg_catalog.pg_stat_get_tuples_updated(c.oid),
             pg_catalog.pg_stat_get_tuples_deleted(c.oid)]
FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384;

-- name: epoch
-- Since when the counters count: a crash throws all of them away and sets the server's time; a reset of this
-- database's, or of one table's in it, sets the database's.
SELECT ARRAY[pg_catalog.pg_postmaster_start_time()::text,
             (SELECT a.stats_reset::text FROM pg_catalog.pg_stat_archiver a),
             (SELECT d.stats_reset::text FROM pg_catalog.pg_stat_database d
              WHERE d.datname = pg_catalog.current_database())]::text;

-- name: doubts
-- Why rows could be written as %(role)s without the counters showing it, since 15: whoever may turn them off or reset
-- them, whoever runs a function as such a role, and code that opens sessions of its own.
WITH able(oid, rolname, why) AS MATERIALIZED (
    SELECT s.* FROM (
        SELECT r.oid, r.rolname,
               CASE WHEN r.rolsuper THEN 'is a superuser'
                    WHEN r.rolcreaterole AND pg_catalog.current_setting('server_version_num')::int4 < 160000
                         THEN 'may take any role (CREATEROLE)'
                    WHEN r.rolname IN ('pg_execute_server_program', 'pg_write_server_files')
                         THEN 'reaches the server''s machine'
                    WHEN pg_catalog.has_parameter_privilege(r.oid, 'track_counts', 'SET')
                      OR pg_catalog.has_parameter_privilege(r.oid, 'track_counts', 'ALTER SYSTEM')
                         THEN 'may turn track_counts off'
                    WHEN EXISTS (SELECT FROM pg_catalog.pg_proc p
                                 WHERE p.oid < 16384 AND p.proname ~ '^pg_stat_reset'
                                   AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE'))
                         THEN 'may reset the counters' END
        FROM pg_catalog.pg_roles r) s(oid, rolname, why)
    WHERE s.why IS NOT NULL
)
SELECT s.doubt FROM (
    SELECT 1, 'role ' || able.rolname || ' ' || able.why FROM able
    WHERE able.oid = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s)
    UNION ALL
    SELECT 2, 'role ' || %(role)s || ' is a member of ' || able.rolname || ', who ' || able.why FROM able
    WHERE pg_catalog.pg_has_role((SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s), able.oid, 'MEMBER')
    UNION ALL
    SELECT 3, 'function ' || p.proname || ' runs as ' || able.rolname || ', who ' || able.why
    FROM pg_catalog.pg_proc p JOIN able ON able.oid = p.proowner WHERE p.prosecdef AND p.oid >= 16384
    UNION ALL
    SELECT 4, 'function ' || p.proname || ' speaks of track_counts or pg_stat_reset' FROM pg_catalog.pg_proc p
    WHERE EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS setting WHERE setting ~* '^track_counts=')
       OR (p.oid >= 16384 AND p.prosrc ~* 'track_counts|pg_stat_reset')
    UNION ALL
    SELECT 5, 'a role or database sets track_counts' FROM pg_catalog.pg_db_role_setting d
    WHERE EXISTS (SELECT FROM pg_catalog.unnest(d.setconfig) AS setting WHERE setting ~* '^track_counts=')
    UNION ALL
    SELECT 6, 'function ' || p.proname || ' is in the untrusted language ' || l.lanname
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE NOT l.lanpltrusted AND l.lanname NOT IN ('c', 'internal') AND p.oid >= 16384
    UNION ALL
    SELECT 7, 'extension ' || e.extname || ' opens sessions or writes pages of its own' FROM pg_catalog.pg_extension e
    WHERE e.extname IN ('dblink', 'postgres_fdw', 'pg_background', 'pg_cron', 'plproxy', 'pg_surgery')
    UNION ALL
    SELECT 8, 'track_counts is off' WHERE pg_catalog.current_setting('track_counts') <> 'on'
) s(place, doubt) ORDER BY s.place, s.doubt LIMIT 1;
