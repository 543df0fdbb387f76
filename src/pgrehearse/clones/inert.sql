-- name: servers
SELECT s.srvname::text, w.fdwname::text, coalesce(s.srvoptions, '{}'::text[])
FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
ORDER BY 1;

-- name: programs
-- file_fdw can run a program of the server for each scan.
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_foreign_table f
JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE EXISTS (SELECT FROM unnest(f.ftoptions) o(option) WHERE o.option LIKE 'program=%')
ORDER BY 1, 2;

-- name: jobs
-- The switch of a scheduler's job table: pg_cron, pgAgent, TimescaleDB.
SELECT n.nspname::text, c.relname::text, a.attname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE (n.nspname, c.relname, a.attname) IN (
        ('cron', 'job', 'active'), ('pgagent', 'pga_job', 'jobenabled'),
        ('_timescaledb_config', 'bgw_job', 'scheduled'))
  AND c.relkind = 'r' AND a.atttypid = 'pg_catalog.bool'::pg_catalog.regtype
ORDER BY 1, 2;

-- name: outward_extensions
-- Whose functions are not replaced one by one: see inert_functions.py.
SELECT e.extname::text FROM pg_catalog.pg_extension e
WHERE e.extname IN ('plpython3u', 'plpythonu', 'plperlu', 'pltclu', 'plsh', 'oracle_fdw', 'pg_background')
ORDER BY 1;

-- name: populated_matviews
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname <> 'pgrehearse_quarantine'
ORDER BY c.oid;

-- name: foreign_matviews
-- Materialized views that read a foreign table, directly or through views: refreshing one asks the other server.
WITH RECURSIVE reads(view, relation) AS (
    SELECT DISTINCT r.ev_class, d.refobjid
    FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
), reaches(view) AS (
    SELECT reads.view FROM reads JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = reads.relation
    UNION
    SELECT reads.view FROM reads JOIN reaches ON reads.relation = reaches.view
)
SELECT n.nspname::text, c.relname::text
FROM reaches JOIN pg_catalog.pg_class c ON c.oid = reaches.view AND c.relkind = 'm'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relispopulated
ORDER BY 1, 2;

-- name: subscriptions
SELECT s.subname::text FROM pg_catalog.pg_subscription s, pg_catalog.pg_database d
WHERE d.oid = s.subdbid AND d.datname = current_database() ORDER BY 1;

-- name: user_mappings
-- The view, not the catalog: everybody may read it (the options of others come back null).
SELECT u.srvname::text, coalesce(u.usename::text, 'public') FROM pg_catalog.pg_user_mappings u ORDER BY 1, 2;
