-- name: blocked_by_us
-- Client sessions that wait behind one of ours.  Autovacuum gives way by itself and hurts nobody by
-- waiting; who waits for the ledger's table or for our advisory locks is meant to.
SELECT l.pid, a.application_name, a.usename,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - l.waitstart),
       l.mode, l.relation::pg_catalog.regclass::text, a.query
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted
  AND a.usesysid IS NOT NULL  -- no autovacuum; backend_type is hidden from a role that may not see the session
  AND l.pid <> ALL (%(ours)s)
  AND l.relation IS DISTINCT FROM %(relation)s::oid
  AND NOT (l.locktype = 'advisory' AND l.classid = %(namespace)s)
  AND l.waitstart < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(patience_s)s)
  AND pg_catalog.pg_blocking_pids(l.pid) && %(ours)s::integer[]
ORDER BY l.waitstart
LIMIT 1

-- name: we_wait_for
-- `own_wall`: only the ledger's table is ever meant; CONCURRENTLY also waits, for an instant, for the
-- snapshot of this very query.
SELECT b.pid, a.application_name, a.usename, a.state, a.query,
       l.locktype = 'relation' AND l.relation = %(relation)s::oid AS own_wall
FROM pg_catalog.pg_locks l
CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(l.pid)) AS b (pid)
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
WHERE NOT l.granted AND l.pid = %(pid)s
  AND (b.pid <> ALL (%(ours)s) OR l.locktype = 'relation' AND l.relation = %(relation)s::oid)
LIMIT 1

-- name: reader_in_a_circle
-- Someone who waits in a SELECT for the ledger's table holds a snapshot meanwhile (a query is analysed under
-- one), and CONCURRENTLY waits for older snapshots to end: it for us, and we for it.  The server does not see
-- the circle, because the table is held by another session of ours, which waits for nothing.
SELECT b.pid, a.application_name, a.usename, a.query
FROM pg_catalog.pg_locks l
CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(l.pid)) AS b (pid)
JOIN pg_catalog.pg_locks w ON w.pid = b.pid AND NOT w.granted
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
WHERE NOT l.granted AND l.pid = %(pid)s AND l.locktype = 'virtualxid'
  AND b.pid <> ALL (%(ours)s)
  AND w.locktype = 'relation' AND w.relation = %(relation)s::oid
  AND w.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
LIMIT 1
