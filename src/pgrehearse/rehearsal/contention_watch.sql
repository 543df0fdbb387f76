-- name: waits
-- Who waits for a lock in this database, since when, and whether for the plan.  waitstart is null for a moment after the
-- wait began (the manual, 54.12).
SELECT l.pid,
       l.pid = ANY (%(plan)s::pg_catalog.int4[]),
       pg_catalog.min(l.waitstart)::text,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(l.waitstart))::float8 * 1000,
       l.pid <> ALL (%(plan)s::pg_catalog.int4[])
       AND pg_catalog.pg_blocking_pids(l.pid) && %(plan)s::pg_catalog.int4[]
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE NOT l.granted AND l.waitstart IS NOT NULL
   AND a.backend_type = 'client backend' AND a.datname = pg_catalog.current_database()
 GROUP BY l.pid;
