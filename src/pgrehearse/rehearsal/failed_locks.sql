-- name: relations
-- As the trace names them.
SELECT c.oid::pg_catalog.int8, pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('pgrehearse', 'pgrehearse_quarantine')
ORDER BY 1;

-- name: held
-- What this session holds already so strongly that nobody else could hold it up there.
SELECT l.relation::pg_catalog.int8 FROM pg_catalog.pg_locks l
WHERE l.pid = %s AND l.locktype = 'relation' AND l.granted
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'SIReadLock')
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
