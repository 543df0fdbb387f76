-- name: relations
-- How the relations that the plan locks can be read and written by key: the primary key, else another key that no row
-- lacks; and a column that may be set to itself, rather one that no index has.
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname),
       n.nspname::text,
       c.relname::text,
       c.relkind::text,
       c.reltuples::float8,
       c.relhasrules AND c.relkind <> 'm',
       COALESCE(k.names, '{}'),
       (SELECT a.attname::text
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND a.attgenerated = '' AND a.attidentity <> 'a'
         ORDER BY a.attname::text = ANY (COALESCE(k.names, '{}')),
                  EXISTS (SELECT FROM pg_catalog.pg_index i
                           WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey::pg_catalog.int2[])),
                  a.attnum
         LIMIT 1)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
       SELECT ARRAY(SELECT a.attname::text
                      FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) p (position)
                      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[p.position]
                     ORDER BY p.position) AS names
         FROM pg_catalog.pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
          AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) p (position)
                            JOIN pg_catalog.pg_attribute a
                              ON a.attrelid = c.oid AND a.attnum = i.indkey[p.position] AND NOT a.attnotnull)
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
        LIMIT 1) k ON true
 WHERE pg_catalog.format('%%I.%%I', n.nspname, c.relname) = ANY (%(names)s)
 ORDER BY pg_catalog.array_position(%(names)s, pg_catalog.format('%%I.%%I', n.nspname, c.relname));
