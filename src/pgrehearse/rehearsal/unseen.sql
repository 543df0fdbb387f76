-- name: functions
-- Functions of the server's own and of C libraries are known by name (see migrations/reach.py).
-- The text of BEGIN ATOMIC stands elsewhere.  The last column: whether it runs as its owner, who may reach the machine.
SELECT p.oid::pg_catalog.int8, p.proname::pg_catalog.text, l.lanname::pg_catalog.text,
       CASE WHEN l.lanname = 'sql' THEN COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) ELSE p.prosrc END,
       p.prosecdef AND (o.rolsuper
                        OR pg_catalog.pg_has_role(o.oid, 'pg_execute_server_program', 'MEMBER')
                        OR pg_catalog.pg_has_role(o.oid, 'pg_read_server_files', 'MEMBER')
                        OR pg_catalog.pg_has_role(o.oid, 'pg_write_server_files', 'MEMBER'))
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prokind IN ('f', 'p') AND l.lanname NOT IN ('internal', 'c');

-- name: untrusted
SELECT p.oid::pg_catalog.int8, p.proname::pg_catalog.text, l.lanname::pg_catalog.text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prokind IN ('f', 'p') AND NOT l.lanpltrusted
  AND l.lanname NOT IN ('internal', 'c');

-- name: state
-- One look after each statement: who we are, our transaction, and which of these functions ran in it.
SELECT current_user::pg_catalog.text,
       pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text::pg_catalog.int8,
       pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8,
       ARRAY(SELECT f.oid FROM pg_catalog.unnest(%s::pg_catalog.int8[]) f(oid)
             WHERE pg_catalog.pg_stat_get_xact_function_calls(f.oid::pg_catalog.oid) IS NOT NULL);

-- name: changes_user
-- Functions that a user made and that leave the role that their caller had.
SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p
               WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prosrc OPERATOR(pg_catalog.~*) %s);

-- name: session_user_readers
SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p
WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prosrc OPERATOR(pg_catalog.~*) '\msession_user\M'
UNION ALL
-- A generated column's expression is immutable, which session_user is not; a default names no column, see snapshot.sql.
SELECT 'a default of ' || d.adrelid::pg_catalog.regclass::pg_catalog.text
FROM pg_catalog.pg_attrdef d
JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum
-- CASE, since the server may print before it looks which columns are generated, and fails at those.
WHERE CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) ''
           THEN pg_catalog.pg_get_expr(d.adbin, 0) OPERATOR(pg_catalog.~*) '\msession_user\M' END
UNION ALL SELECT 'a policy of ' || p.polrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_policy p
WHERE pg_catalog.concat(pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
      OPERATOR(pg_catalog.~*) '\msession_user\M'
UNION ALL SELECT 'the view ' || c.oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_class c
WHERE c.relkind IN ('v', 'm') AND c.oid OPERATOR(pg_catalog.>=) 16384
  AND pg_catalog.pg_get_viewdef(c.oid) OPERATOR(pg_catalog.~*) '\msession_user\M'
ORDER BY 1 LIMIT 5;
