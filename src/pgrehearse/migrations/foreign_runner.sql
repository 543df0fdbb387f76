-- Who else is at the migration ledger's table, or runs what is pending.  Sessions of other databases
-- cannot hold or wait for this relation: pg_locks.database is compared all the same, as oids repeat.

-- name: recording
SELECT l.pid, a.application_name, a.usename, COALESCE(pg_catalog.host(a.client_addr), 'local socket')
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = %(relation)s AND NOT l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock')
  AND l.pid <> ALL (%(ours)s)
LIMIT 1

-- name: queued_ahead
-- waitstart (since 14) is set just before the wait begins, so it tells the queue's order.
SELECT l.pid, a.application_name, a.usename, COALESCE(pg_catalog.host(a.client_addr), 'local socket')
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = %(relation)s AND NOT l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.pid <> ALL (%(ours)s)
  AND (%(before)s::integer IS NULL OR l.waitstart < (
      SELECT min(o.waitstart) FROM pg_catalog.pg_locks o
      WHERE o.pid = %(before)s AND o.relation = %(relation)s AND NOT o.granted))
ORDER BY l.waitstart
LIMIT 1

-- name: holding
SELECT l.pid, a.application_name, a.usename, COALESCE(pg_catalog.host(a.client_addr), 'local socket')
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = %(relation)s AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.pid <> ALL (%(ours)s)
LIMIT 1

-- name: others_at_work
-- An idle session's query is history; one idle in a transaction is between two statements of it.
SELECT a.pid, a.application_name, a.usename, COALESCE(pg_catalog.host(a.client_addr), 'local socket'), a.query
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database()
  AND a.state IN ('active', 'idle in transaction', 'idle in transaction (aborted)')
  AND a.query IS NOT NULL AND a.backend_type = 'client backend'
  AND a.pid <> ALL (%(ours)s)

-- name: state_of_wait
SELECT l.granted FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation' AND l.relation = %(relation)s AND l.pid = %(pid)s
  AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())

-- name: holds_snapshot
-- A session that got the lock meanwhile is no longer waiting, and may hold one.
SELECT 1 FROM pg_catalog.pg_stat_activity
WHERE pid = %s AND backend_xmin IS NOT NULL AND wait_event_type = 'Lock'
