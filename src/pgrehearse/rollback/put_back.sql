-- name: triggers_and_rules
SELECT 'TRIGGER', t.tgname, t.tgenabled::text
FROM pg_catalog.pg_trigger t
WHERE t.tgrelid = %(oid)s::int8::oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL
SELECT 'RULE', r.rulename, r.ev_enabled::text
FROM pg_catalog.pg_rewrite r
WHERE r.ev_class = %(oid)s::int8::oid AND r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
ORDER BY 1, 2;

-- name: sequence
SELECT q.seqincrement, n.nspname, c.relname, a.attname
FROM pg_catalog.pg_sequence q
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = q.seqrelid
    AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE q.seqrelid = pg_catalog.to_regclass(%(name)s);

-- name: identities
-- Since 17 a partition has its root's identity, and only there it can be altered.
SELECT a.attname, n.nspname, c.relname
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = COALESCE(pg_catalog.pg_partition_root(a.attrelid)::oid, a.attrelid)
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE a.attrelid = %(oid)s::int8::oid AND a.attidentity = 'a' AND a.attnum > 0 AND NOT a.attisdropped;
