-- name: foreign_keys
-- Every foreign key that a table has or that points at it, the tables' partition trees included.  A key that a
-- partition of the parent's side made for itself (same child, its own parent constraint) says nothing new.
WITH line AS (
    SELECT o.oid, a.relid::oid AS ancestor
    FROM pg_catalog.unnest(%(oids)s::int8[]) AS i (number), LATERAL (SELECT i.number::oid) AS o (oid),
         LATERAL (SELECT o.oid AS relid UNION SELECT p.relid FROM pg_catalog.pg_partition_ancestors(o.oid) p) a
)
SELECT con.conname, con.conrelid::int8, ARRAY[n.nspname::text, c.relname::text],
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(con.conkey) WITH ORDINALITY k (number, position)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.position),
       ARRAY(SELECT line.oid::int8 FROM line WHERE line.ancestor = con.confrelid),
       ARRAY[pn.nspname::text, pc.relname::text],
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(con.confkey) WITH ORDINALITY k (number, position)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.position),
       con.condeferrable
FROM pg_catalog.pg_constraint con
JOIN pg_catalog.pg_class c ON c.oid = con.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class pc ON pc.oid = con.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
LEFT JOIN pg_catalog.pg_constraint parent ON parent.oid = con.conparentid
WHERE con.contype = 'f' AND (parent.oid IS NULL OR parent.conrelid <> con.conrelid)
  AND (con.conrelid IN (SELECT oid FROM line) OR con.confrelid IN (SELECT ancestor FROM line))
ORDER BY con.conname, con.conrelid;
