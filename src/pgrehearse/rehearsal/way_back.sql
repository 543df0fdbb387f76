-- name: tables
-- Same oid, same file and same columns: the same rows, unless somebody wrote into it.
SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.relfilenode,
       ARRAY(SELECT a.attnum || ' ' || a.attname FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'

-- name: written
-- By this transaction so far.
SELECT c.oid FROM pg_catalog.pg_class c
WHERE c.relkind = 'r' AND pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid)
    + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) > 0

-- name: large_objects
-- Owner, rights, comment and labels: in no schema, and no comparison of contents sees them.
SELECT m.oid::int8, pg_catalog.pg_get_userbyid(m.lomowner)::text || ' ' || COALESCE(m.lomacl::text, '') || ' '
    || COALESCE(pg_catalog.obj_description(m.oid, 'pg_largeobject'), '') || ' '
    || COALESCE((SELECT pg_catalog.string_agg(s.provider || ' ' || s.label, ' ' ORDER BY s.provider)
                 FROM pg_catalog.pg_seclabel s
                 WHERE s.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND s.objoid = m.oid), '')
FROM pg_catalog.pg_largeobject_metadata m ORDER BY m.oid
