-- name: standbys
-- Without pg_monitor the rows of others are there, and everything in them but the pid is NULL.
SELECT COALESCE(r.application_name, ''), COALESCE(pg_catalog.host(r.client_addr), ''), r.state, r.sync_state,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), r.replay_lsn)::pg_catalog.int8,
       EXTRACT(epoch FROM r.replay_lag)::pg_catalog.float8
FROM pg_catalog.pg_stat_replication r
ORDER BY 1, 2, r.pid;

-- name: slots
-- A slot that was never used holds nothing back: its restart_lsn is NULL.  A temporary one goes with its session.
SELECT s.slot_name::text, s.slot_type, s.active, s.database::text, s.wal_status, s.safe_wal_size,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::pg_catalog.int8
FROM pg_catalog.pg_replication_slots s
WHERE NOT s.temporary
ORDER BY s.slot_name;

-- name: synchronous
-- COMMIT waits for a standby where both settings say so; this session's synchronous_commit is the promoting role's.
SELECT pg_catalog.current_setting('synchronous_standby_names') <> ''
   AND pg_catalog.current_setting('synchronous_commit') NOT IN ('off', 'local');

-- name: published
-- A partition is published under its root where the publication says so; both names are looked for.
SELECT p.pubname::text, pg_catalog.array_agg(DISTINCT t.name ORDER BY t.name)
FROM pg_catalog.pg_publication_tables p
JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
JOIN pg_catalog.unnest(%(touched)s::text[]) AS t (name)
  ON c.oid IN (pg_catalog.to_regclass(t.name)::oid, pg_catalog.pg_partition_root(pg_catalog.to_regclass(t.name))::oid)
GROUP BY p.pubname
ORDER BY p.pubname;

-- name: subscribed
SELECT s.subname::text, pg_catalog.array_agg(DISTINCT t.name ORDER BY t.name)
FROM pg_catalog.pg_subscription s
JOIN pg_catalog.pg_subscription_rel r ON r.srsubid = s.oid
JOIN pg_catalog.unnest(%(touched)s::text[]) AS t (name) ON r.srrelid = pg_catalog.to_regclass(t.name)::oid
WHERE s.subenabled
GROUP BY s.subname
ORDER BY s.subname;

-- name: rewritten
-- With indexes and TOAST: a rewrite writes all of them anew, and all of it goes through the WAL.
SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_total_relation_size(r.oid)), 0)::pg_catalog.int8
FROM (SELECT DISTINCT p.relid AS oid
      FROM pg_catalog.unnest(%(rewritten)s::text[]) AS t (name)
      CROSS JOIN LATERAL (
          SELECT pg_catalog.to_regclass(t.name)::oid AS relid
          UNION SELECT f.relid::oid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(t.name)) f
      ) AS p
      WHERE p.relid IS NOT NULL) AS r;

-- name: data_directory
SELECT pg_catalog.current_setting('data_directory'),
       EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.int8;

-- name: on_a_standby
SELECT pg_catalog.pg_is_in_recovery(),
       CASE WHEN pg_catalog.pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_catalog.pg_last_wal_replay_lsn() THEN 0
            ELSE EXTRACT(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
       END::pg_catalog.float8,
       pg_catalog.pg_is_in_recovery() AND pg_catalog.pg_is_wal_replay_paused(),
       (SELECT s.setting::pg_catalog.int8 FROM pg_catalog.pg_settings s WHERE s.name = 'max_standby_streaming_delay');

-- name: in_the_way
-- Transactions that hold a lock on a relation that the plan locks ACCESS EXCLUSIVE: its replay waits for them, then
-- cancels them.
SELECT l.pid, pg_catalog.array_agg(DISTINCT t.name ORDER BY t.name),
       EXTRACT(epoch FROM pg_catalog.max(pg_catalog.clock_timestamp() - a.xact_start))::pg_catalog.float8
FROM pg_catalog.unnest(%(exclusive)s::text[]) AS t (name)
JOIN pg_catalog.pg_locks l ON l.locktype = 'relation' AND l.relation = pg_catalog.to_regclass(t.name)::oid
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.pid <> pg_catalog.pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'startup'
GROUP BY l.pid
ORDER BY l.pid;
