-- name: installed
-- Where its functions are; and whether it could be made here for the length of a transaction that is rolled back.
SELECT (SELECT n.nspname::text FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'amcheck'),
       EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = 'amcheck')
       AND pg_catalog.current_setting('is_superuser') = 'on'
       -- one of the plan's would run as ourselves
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger t WHERE t.evtenabled <> 'D');

-- name: collations
-- Of what a user's column or the database sorts by; where the library sorts by other rules now.
SELECT pg_catalog.format('%I.%I', n.nspname, l.collname)
FROM pg_catalog.pg_collation l
JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
WHERE l.collversion IS NOT NULL AND l.collversion <> pg_catalog.pg_collation_actual_version(l.oid)
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attcollation = l.oid AND a.attrelid >= 16384)
ORDER BY 1;

-- name: database_collation
SELECT pg_catalog.format('%I', d.datname) FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database()
  AND d.datcollversion <> pg_catalog.pg_database_collation_actual_version(d.oid);
