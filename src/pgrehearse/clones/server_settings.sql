-- name: starting_values
SELECT s.name, CASE WHEN s.source = 'session' THEN s.reset_val ELSE s.setting END
FROM pg_catalog.pg_settings s
WHERE s.name = ANY(%s) AND s.setting IS NOT NULL AND s.reset_val IS NOT NULL
ORDER BY s.name;

-- name: defaults
SELECT s.name, s.boot_val FROM pg_catalog.pg_settings s WHERE s.name = ANY(%s) AND s.boot_val IS NOT NULL;

-- name: client
-- What the URL (options=-c ...) or libpq's environment (PGTZ) sets.
SELECT s.name FROM pg_catalog.pg_settings s WHERE s.source = 'client';

-- name: of_libraries
-- Known to the server, and not for ordinary sessions to set: how a library works, watches or logs.
SELECT pg_catalog.lower(s.name) FROM pg_catalog.pg_settings s WHERE s.context <> 'user';

-- name: in_files
-- A superuser's, or whom he grants it.  A line that was not read yet is not told apart: only names are taken from here
-- where the session sees the value itself.
SELECT DISTINCT ON (pg_catalog.lower(f.name)) pg_catalog.lower(f.name), f.setting
FROM pg_catalog.pg_file_settings f
WHERE f.applied AND f.setting IS NOT NULL
ORDER BY pg_catalog.lower(f.name), f.seqno DESC;

-- name: mentioned
-- Literals that read as a parameter's name, in whatever the database computes with by itself.
SELECT DISTINCT pg_catalog.lower(m.found[1])
FROM (
    SELECT p.prosrc FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 AND p.prosqlbody IS NULL
    UNION ALL
    SELECT pg_catalog.pg_get_function_sqlbody(p.oid) FROM pg_catalog.pg_proc p
    WHERE p.oid >= 16384 AND p.prosqlbody IS NOT NULL
    UNION ALL
    SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND c.relkind IN ('v', 'm')
    UNION ALL
    SELECT pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384 AND r.rulename <> '_RETURN'
    UNION ALL
    SELECT pg_catalog.pg_get_triggerdef(t.oid) FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal
    UNION ALL
    SELECT pg_catalog.pg_get_expr(p.polqual, p.polrelid) FROM pg_catalog.pg_policy p
    UNION ALL
    SELECT pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) FROM pg_catalog.pg_policy p
    UNION ALL
    SELECT pg_catalog.pg_get_expr(a.adbin, a.adrelid) FROM pg_catalog.pg_attrdef a
    UNION ALL
    SELECT pg_catalog.pg_get_constraintdef(c.oid) FROM pg_catalog.pg_constraint c
    WHERE c.oid >= 16384 AND c.contype = 'c'
) code (text)
CROSS JOIN LATERAL pg_catalog.regexp_matches(code.text, '''([[:alpha:]_][\w$]*(?:\.[[:alpha:]_][\w$]*)+)''', 'g') m (found);

-- name: current_values
SELECT n.name, pg_catalog.current_setting(n.name, true)
FROM pg_catalog.unnest(%s::pg_catalog.text[]) n (name)
WHERE pg_catalog.current_setting(n.name, true) IS NOT NULL;
