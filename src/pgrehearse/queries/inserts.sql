-- name: columns
-- Which columns an INSERT must send: NOT NULL (or of such a domain), and nothing else fills them.
SELECT a.attname::text,
       (a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND t.typdefault IS NULL
         AND a.attidentity = '' AND a.attgenerated = ''
         -- A trigger before the row may fill any of them (1 row, 2 before, 4 insert).
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g
                         WHERE g.tgrelid = a.attrelid AND g.tgtype & 7 = 7 AND g.tgenabled <> 'D')
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = pg_catalog.to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
