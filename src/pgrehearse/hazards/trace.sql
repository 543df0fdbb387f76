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
