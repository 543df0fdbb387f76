-- name: lockable
-- Ordinary tables: LOCK TABLE refuses materialized views.  Not partitioned ones: DETACH ... CONCURRENTLY would wait
-- for a holder of the parent before it asks for ACCESS EXCLUSIVE on the partition, which is what is to be seen.
SELECT n.nspname, c.relname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = ANY (%s) AND c.relkind = 'r';

-- name: locks_of
SELECT l.relation, l.mode
  FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'relation' AND l.pid = %s AND l.relation = ANY (%s) AND l.mode <> 'SIReadLock';
