-- name: standing
-- Whether the counters can be believed here: a standby counts its own readers only.
SELECT pg_catalog.current_setting('track_counts') = 'on', pg_catalog.pg_is_in_recovery(),
       EXTRACT(epoch FROM pg_catalog.clock_timestamp())::float8,
       (SELECT d.stats_reset::text FROM pg_catalog.pg_stat_database d
         WHERE d.datname = pg_catalog.current_database());

-- name: tables
-- Scans begun and rows written since the counters began.  Of a partitioned table only its leaves are counted; the view
-- shows it all the same, at zero.
SELECT pg_catalog.format('%%I.%%I', s.schemaname, s.relname),
       c.relkind = 'p',
       COALESCE(s.seq_scan, 0) + COALESCE(s.idx_scan, 0),
       COALESCE(s.n_tup_ins, 0) + COALESCE(s.n_tup_upd, 0) + COALESCE(s.n_tup_del, 0)
  FROM pg_catalog.pg_stat_user_tables s
  JOIN pg_catalog.pg_class c ON c.oid = s.relid
 WHERE pg_catalog.format('%%I.%%I', s.schemaname, s.relname) = ANY (%(names)s);

-- name: extension
SELECT n.nspname::text
  FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 WHERE e.extname = 'pg_stat_statements';

-- name: statements
-- Calls of each statement of this database, whoever sent it; our own name no relation of users.  What another sent and
-- this user may not see has neither id nor text.
SELECT s.queryid, pg_catalog.min(s.query), pg_catalog.sum(s.calls)::pg_catalog.int8
  FROM {view} s
 WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
 GROUP BY s.queryid;
