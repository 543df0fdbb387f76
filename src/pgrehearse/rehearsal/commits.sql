-- name: rows_written_so_far
-- The counters start at the session's last report to the statistics, not at BEGIN: remember where they stand.
SELECT c.oid::bigint, pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid),
    pg_catalog.pg_stat_get_xact_tuples_updated(c.oid), pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)
FROM pg_catalog.pg_class c
WHERE c.relkind = 'r' AND c.oid >= 16384
  AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
      + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) > 0;

-- name: rows_written
-- Of the relations that this backend holds a lock on, for nobody writes without; a partition's rows are its root's.
SELECT c.oid::bigint, pg_catalog.format('%I.%I', n.nspname, root.relname),
    pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), pg_catalog.pg_stat_get_xact_tuples_updated(c.oid),
    pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)
FROM (SELECT DISTINCT l.relation FROM pg_catalog.pg_locks l
      WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()
        AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                          WHERE d.datname = pg_catalog.current_database())) held
JOIN pg_catalog.pg_class c ON c.oid = held.relation AND c.relkind = 'r' AND c.relpersistence <> 't'
JOIN pg_catalog.pg_class root ON root.oid = COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
JOIN pg_catalog.pg_namespace n ON n.oid = root.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine');

-- name: has_deferrable_triggers
-- A team's own constraint triggers; a foreign key's cascade is never deferred.
SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgdeferrable AND NOT t.tgisinternal);

-- name: truncated
-- The named tables, and with CASCADE those that refer to them by foreign keys, and so on.
WITH RECURSIVE emptied AS (
    SELECT pg_catalog.to_regclass(t.name)::oid AS oid FROM pg_catalog.unnest(%(names)s::text[]) AS t (name)
    UNION
    SELECT k.conrelid FROM emptied JOIN pg_catalog.pg_constraint k ON k.confrelid = emptied.oid
    WHERE %(cascade)s AND k.contype = 'f' AND k.conparentid = 0
)
SELECT n.nspname, c.relname, pg_catalog.format('%%I.%%I', rn.nspname, root.relname)
FROM emptied
JOIN pg_catalog.pg_class c ON c.oid = emptied.oid AND c.relpersistence <> 't'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class root ON root.oid = COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
JOIN pg_catalog.pg_namespace rn ON rn.oid = root.relnamespace
WHERE c.relkind IN ('r', 'p');
