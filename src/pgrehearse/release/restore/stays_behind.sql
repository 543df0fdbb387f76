-- name: prepared
SELECT x.gid::text, x.owner::text, x.prepared::text
FROM pg_catalog.pg_prepared_xacts x WHERE x.database = pg_catalog.current_database() ORDER BY 1;

-- name: slots
SELECT s.slot_name::text, s.plugin::text, s.active,
       pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(
           CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn))
FROM pg_catalog.pg_replication_slots s
WHERE s.slot_type = 'logical' AND s.database = pg_catalog.current_database() ORDER BY 1;

-- name: subscriptions
-- The columns that everybody may read.
SELECT s.subname::text, s.subenabled, s.subslotname::text
FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
WHERE d.datname = pg_catalog.current_database() ORDER BY 1;

-- name: publications
SELECT p.pubname::text FROM pg_catalog.pg_publication p ORDER BY 1;

-- name: extensions
-- Those with workers, jobs or state of their own that belong to one database.
SELECT e.extname::text FROM pg_catalog.pg_extension e
WHERE e.extname IN ('pg_cron', 'pgagent', 'timescaledb', 'pglogical', 'pg_partman', 'pg_net', 'pgq', 'bucardo',
                    'wal2json', 'age', 'citus', 'pg_squeeze', 'pg_stat_statements') ORDER BY 1;

-- name: foreign_tables
SELECT pg_catalog.count(*) FROM pg_catalog.pg_foreign_table;

-- name: images
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pgrehearse_quarantine');

-- name: sessions
SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
  AND CASE WHEN a.backend_type IS NULL THEN a.usesysid IS NOT NULL  -- hidden from whoever lacks pg_read_all_stats
           ELSE a.backend_type <> 'autovacuum worker' END;

-- name: large_objects
SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata;
