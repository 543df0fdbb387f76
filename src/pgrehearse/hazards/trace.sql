-- name: relations
-- What existed before the plan: ordinary and partitioned tables and materialized views of users.
SELECT c.oid,
       pg_catalog.format('%I.%I', n.nspname, c.relname),
       c.relkind::text,
       c.reltuples::float8,
       pg_catalog.pg_relation_filenode(c.oid),
       CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) END
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm')
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('pgrehearse', 'pgrehearse_quarantine');

-- name: relations_without_sizes
-- The same without asking a size, which takes a lock.
SELECT c.oid,
       pg_catalog.format('%I.%I', n.nspname, c.relname),
       c.relkind::text,
       c.reltuples::float8,
       pg_catalog.pg_relation_filenode(c.oid),
       0
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm')
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('pgrehearse', 'pgrehearse_quarantine');

-- name: own_state
-- After a statement, in its transaction: every lock this backend holds on those relations, with what
-- the transaction has read and written there so far.  Reading needs a lock, so no other relation matters.
-- A new index, or one with a new file, means that its table was read whole even where parallel workers
-- did it, whose counts do not reach this transaction's statistics.
SELECT l.relation,
       l.mode,
       pg_catalog.pg_stat_get_xact_tuples_returned(l.relation),
       pg_catalog.pg_stat_get_xact_tuples_inserted(l.relation)
         + pg_catalog.pg_stat_get_xact_tuples_updated(l.relation)
         + pg_catalog.pg_stat_get_xact_tuples_deleted(l.relation),
       pg_catalog.pg_relation_filenode(l.relation),
       (SELECT CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) END
          FROM pg_catalog.pg_class c WHERE c.oid = l.relation),
       (SELECT pg_catalog.array_agg(pg_catalog.pg_relation_filenode(i.indexrelid) ORDER BY i.indexrelid)
          FROM pg_catalog.pg_index i
         WHERE i.indrelid = l.relation AND i.indisvalid
           AND pg_catalog.pg_relation_filenode(i.indexrelid) IS NOT NULL)
  FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'relation' AND l.granted
   AND l.pid = pg_catalog.pg_backend_pid()
   AND l.relation = ANY (%s);

-- name: own_locks
SELECT l.relation, l.mode
  FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND l.relation = ANY (%s);

-- name: files
SELECT c.oid, pg_catalog.pg_relation_filenode(c.oid),
       CASE WHEN c.relkind = 'p' THEN 0 ELSE pg_catalog.pg_relation_size(c.oid) END
  FROM pg_catalog.pg_class c
 WHERE c.oid = ANY (%s);

-- name: index_files
SELECT i.indrelid, pg_catalog.array_agg(pg_catalog.pg_relation_filenode(i.indexrelid) ORDER BY i.indexrelid)
  FROM pg_catalog.pg_index i
 WHERE i.indrelid = ANY (%s) AND i.indisvalid
   AND pg_catalog.pg_relation_filenode(i.indexrelid) IS NOT NULL
 GROUP BY i.indrelid;

-- name: rows_read_so_far
-- The counters start at the session's last report to the statistics, not at BEGIN: remember where they stand.
SELECT oid, pg_catalog.pg_stat_get_xact_tuples_returned(oid)
  FROM pg_catalog.unnest(%s::oid[]) AS r (oid)
 WHERE pg_catalog.pg_stat_get_xact_tuples_returned(oid) > 0;
