-- name: bodies
-- Of users, with a text that may ask for what a clone answers otherwise: the function's name, or the relation's.
SELECT x.name, x.is_function, x.body
FROM (
    SELECT p.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass AS classid, p.proname::pg_catalog.text AS name,
           true AS is_function,
           CASE WHEN l.lanname = 'sql' THEN COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)
                ELSE p.prosrc END AS body
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.prokind IN ('f', 'p') AND l.lanname IN ('sql', 'plpgsql')
    UNION ALL
    SELECT c.oid, 'pg_catalog.pg_class'::pg_catalog.regclass, c.relname::pg_catalog.text, false, e.body
    FROM pg_catalog.pg_class c CROSS JOIN LATERAL (
        SELECT pg_catalog.pg_get_viewdef(c.oid) AS body WHERE c.relkind IN ('v', 'm')
        UNION ALL
        SELECT pg_catalog.pg_get_ruledef(r.oid)
        FROM pg_catalog.pg_rewrite r
        WHERE r.ev_class = c.oid AND r.rulename OPERATOR(pg_catalog.<>) '_RETURN'
        UNION ALL
        SELECT pg_catalog.pg_get_triggerdef(t.oid)
        FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND t.tgqual IS NOT NULL
        UNION ALL
        SELECT pg_catalog.concat('INSERT INTO x VALUES (', pg_catalog.pg_get_expr(d.adbin, d.adrelid), ')')
        FROM pg_catalog.pg_attrdef d
        WHERE d.adrelid = c.oid
        UNION ALL
        SELECT pg_catalog.concat('SELECT ', pg_catalog.pg_get_expr(k.conbin, k.conrelid), ' AS x')
        FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.conbin IS NOT NULL
        UNION ALL
        SELECT pg_catalog.concat('SELECT ', pg_catalog.pg_get_expr(q.expression, q.polrelid), ' AS x')
        FROM (SELECT l.polrelid, v.expression
              FROM pg_catalog.pg_policy l CROSS JOIN LATERAL (VALUES (l.polqual), (l.polwithcheck)) v (expression)) q
        WHERE q.polrelid = c.oid AND q.expression IS NOT NULL
    ) e
) x
WHERE x.oid OPERATOR(pg_catalog.>=) 16384
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = x.classid AND d.objid = x.oid AND d.deptype = 'e')
  AND x.body OPERATOR(pg_catalog.~*)
      '\y(current_database|current_catalog|datname|\w*catalog_name|(?!pg_)\w+_catalog|xmin|xmax|cmin|cmax|tableoid|ctid|session_user)\y'
ORDER BY x.name COLLATE pg_catalog."C";
