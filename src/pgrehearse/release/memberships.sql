-- name: relations
SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND pg_catalog.format('%I.%I', n.nspname, c.relname) = ANY ($1::text[]);

-- name: members
-- The rows themselves, with the transaction that wrote each: whatever was changed about one is another row.
SELECT pg_catalog.format('publication relation %I on %I.%I', p.pubname, n.nspname, c.relname),
       m.oid::bigint, m.xmin::text
FROM pg_catalog.pg_publication_rel m
JOIN pg_catalog.pg_publication p ON p.oid = m.prpubid
JOIN pg_catalog.pg_class c ON c.oid = m.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::oid[])
UNION ALL
SELECT pg_catalog.format('statistics object %I.%I on %I.%I', o.nspname, s.stxname, n.nspname, c.relname),
       s.oid::bigint, s.xmin::text
FROM pg_catalog.pg_statistic_ext s
JOIN pg_catalog.pg_namespace o ON o.oid = s.stxnamespace
JOIN pg_catalog.pg_class c ON c.oid = s.stxrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::oid[])
UNION ALL
SELECT pg_catalog.format('publication %I for all tables', p.pubname), p.oid::bigint, p.xmin::text
FROM pg_catalog.pg_publication p WHERE p.puballtables
