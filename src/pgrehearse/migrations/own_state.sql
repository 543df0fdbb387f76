-- name: held
-- Every relation that this backend holds a lock on: the modes, and of those of a user (`traced`) what its transaction has
-- read and written there so far; nobody reads or writes without a lock.  A partition's rows are its root's.  A new index,
-- or one with a new file, means that its table was read whole even where parallel workers did it, whose counts do not
-- reach this transaction's statistics.  A deferrable trigger may be one that a foreign key made: its cascade is never
-- deferred.  Of the catalogs only those that are locked as by a writer: DML, not DDL, keeps such a lock.
-- Looking at pg_locks walks the server's whole lock table, empty or not: once.  A predicate lock (SIReadLock, of a
-- SERIALIZABLE transaction) blocks nobody.
WITH held AS MATERIALIZED (
    SELECT l.relation, pg_catalog.array_agg(l.mode) AS modes
      FROM pg_catalog.pg_locks l
     WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND l.mode <> 'SIReadLock'
       AND (l.relation >= 16384 OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))
     GROUP BY l.relation
)
SELECT held.relation::bigint,
       held.modes,
       CASE WHEN c.relkind = 'r' AND c.relpersistence <> 't' THEN
           pg_catalog.format('%I.%I', n.nspname, root.relname) END,
       pg_catalog.pg_stat_get_xact_tuples_returned(held.relation),
       pg_catalog.pg_stat_get_xact_tuples_inserted(held.relation),
       pg_catalog.pg_stat_get_xact_tuples_updated(held.relation),
       pg_catalog.pg_stat_get_xact_tuples_deleted(held.relation),
       pg_catalog.pg_relation_filenode(c.oid),
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid)
            WHEN c.oid IS NOT NULL THEN 0 END,
       CASE WHEN c.relkind IN ('r', 'p', 'm') THEN
           (SELECT pg_catalog.array_agg(pg_catalog.pg_relation_filenode(i.indexrelid) ORDER BY i.indexrelid)
              FROM pg_catalog.pg_index i
             WHERE i.indrelid = c.oid AND i.indisvalid AND pg_catalog.pg_relation_filenode(i.indexrelid) IS NOT NULL) END,
       c.relhastriggers IS TRUE AND EXISTS (
           SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgdeferrable AND NOT t.tgisinternal),
       held.relation >= 16384
           AND (c.oid IS NULL OR (c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_'
                AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine'))),
       c.relkind IS NOT DISTINCT FROM 'c'
  FROM held
  LEFT JOIN pg_catalog.pg_class c ON c.oid = held.relation  -- none where the transaction dropped it
  LEFT JOIN pg_catalog.pg_class root
    ON root.oid = CASE WHEN c.relispartition THEN COALESCE(pg_catalog.pg_partition_root(c.oid)::oid, c.oid)
                       ELSE c.oid END
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = root.relnamespace;

-- name: flush
-- At its transaction's end this session hands its counters over, and the next transaction begins with none.  Since 15.
SELECT pg_catalog.pg_stat_force_next_flush();

-- name: counted
-- The counters start at the session's last report to the statistics, not at BEGIN: remember where they stand.
SELECT c.oid::bigint,
       pg_catalog.pg_stat_get_xact_tuples_returned(c.oid),
       pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid),
       pg_catalog.pg_stat_get_xact_tuples_updated(c.oid),
       pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)
  FROM pg_catalog.pg_class c
 WHERE c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384
   AND (pg_catalog.pg_stat_get_xact_tuples_returned(c.oid) > 0
        OR pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) > 0
        OR pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) > 0
        OR pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) > 0);

-- name: locks
SELECT l.relation::bigint, l.mode
  FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND l.mode <> 'SIReadLock';
