-- name: functions
-- Of users, with a text that may ask for what a clone answers otherwise.
SELECT x.name, x.body
FROM (
    SELECT p.proname::pg_catalog.text AS name,
           CASE WHEN l.lanname = 'sql' THEN COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)
                ELSE p.prosrc END AS body
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prokind IN ('f', 'p') AND l.lanname IN ('sql', 'plpgsql')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
) x
WHERE x.body OPERATOR(pg_catalog.~*) '\y(current_database|current_catalog|xmin|xmax|cmin|cmax|tableoid|ctid|session_user)\y'
ORDER BY x.name COLLATE pg_catalog."C";
