-- name: attributes
-- What INSERT and UPDATE must know of a column: generated ones take no value.
SELECT a.attrelid::int8, a.attname::text,
       pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND a.attnum > 0 AND NOT a.attisdropped;

-- name: foreign_keys
-- Those that rows may break while they are written one by one.  Copies of a partitioned table's constraint follow it;
-- through jsonb, since conenforced is new in 18.
SELECT k.conrelid::int8, k.confrelid::int8, k.conname::text, k.condeferrable, k.condeferred,
       ARRAY(SELECT ARRAY[c.attname::text, p.attname::text]
             FROM pg_catalog.generate_subscripts(k.conkey, 1) AS u (position)
             JOIN pg_catalog.pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = k.conkey[u.position]
             JOIN pg_catalog.pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = k.confkey[u.position]
             ORDER BY u.position)
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0
  AND pg_catalog.to_jsonb(k)->>'conenforced' IS DISTINCT FROM 'false'
ORDER BY k.conrelid, k.conname;

-- name: triggers
-- A user's own, that would fire again for a row that is written back.  A clone of a partitioned table's follows it.
SELECT t.tgrelid::int8, t.tgname::text, t.tgenabled::text
FROM pg_catalog.pg_trigger t
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgparentid = 0
ORDER BY t.tgrelid, t.tgname;

-- name: foreign_leaves
-- Partitioned tables that have a foreign table somewhere below them.
WITH RECURSIVE above(oid) AS (
    SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    WHERE c.relkind = 'f' AND c.relispartition
    UNION
    SELECT i.inhparent FROM above JOIN pg_catalog.pg_inherits i ON i.inhrelid = above.oid
)
SELECT oid::int8 FROM above;
