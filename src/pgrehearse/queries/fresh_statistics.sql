-- name: relations
-- What ANALYZE looks at, and what of it a migration may have changed.  The activity counters of a clone begin when it
-- was made.
SELECT c.oid, n.nspname::text, c.relname::text, c.relfilenode,
       (SELECT pg_catalog.md5(coalesce(pg_catalog.string_agg(
                 pg_catalog.concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attisdropped), ',' ORDER BY a.attnum), ''))
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
       ARRAY(SELECT i.indexrelid FROM pg_catalog.pg_index i
             WHERE i.indrelid = c.oid AND i.indexprs IS NOT NULL ORDER BY 1)
       || ARRAY(SELECT x.oid FROM pg_catalog.pg_statistic_ext x WHERE x.stxrelid = c.oid ORDER BY 1)
       || ARRAY(SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid ORDER BY 1),
       coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0),
       pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'p', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)';
