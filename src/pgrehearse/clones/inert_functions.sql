-- name: outward
-- Of a listed extension, or declared by hand on its library.  Handlers are no functions that anybody calls.
SELECT p.oid::pg_catalog.int8, pg_catalog.quote_ident(p.proname), x.name
FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]), pg_catalog.unnest(%s::pg_catalog.text[])) x(name, functions)
JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prokind IN ('f', 'p')
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE ((e.extname = x.name AND p.proname OPERATOR(pg_catalog.~) ('^(' || x.functions || ')$'))
    OR (e.oid IS NULL AND pg_catalog.regexp_replace(p.probin, '^.*/|\.so$', '', 'g') = x.name))
  AND p.prorettype NOT IN (SELECT t.oid FROM pg_catalog.pg_type t
                           WHERE t.typtype = 'p' AND (t.typname OPERATOR(pg_catalog.~) '_handler$' OR t.typname = 'internal'))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'information_schema' AND c.relname = 'pgrehearse_calls_' || p.oid
                    AND pg_catalog.strpos(p.prosrc, c.relname) > 0)
ORDER BY 2;

-- name: handlers
-- Those of every foreign-data wrapper that are not replaced yet.
SELECT p.oid::pg_catalog.int8, pg_catalog.string_agg(pg_catalog.quote_ident(w.fdwname), ', ' ORDER BY w.fdwname),
       COALESCE(max(e.extname)::pg_catalog.text, pg_catalog.regexp_replace(max(p.probin), '^.*/|\.so$', '', 'g'))
FROM pg_catalog.pg_foreign_data_wrapper w
JOIN pg_catalog.pg_proc p ON p.oid = w.fdwhandler AND p.prorettype = 'pg_catalog.fdw_handler'::pg_catalog.regtype
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
GROUP BY p.oid ORDER BY 2;

-- name: return_void
UPDATE pg_catalog.pg_proc SET prorettype = 'pg_catalog.void'::pg_catalog.regtype WHERE oid = %s;

-- name: row
SELECT p.prolang::pg_catalog.int8, p.prosrc, p.probin, p.prosupport::pg_catalog.oid::pg_catalog.int8,
       p.proparallel::pg_catalog.text
FROM pg_catalog.pg_proc p WHERE p.oid = %s;

-- name: replace
-- Not in a parallel worker, which may not move a sequence on.  PL/pgSQL does not look at prosqlbody, which stays.
UPDATE pg_catalog.pg_proc
SET prolang = (SELECT l.oid FROM pg_catalog.pg_language l WHERE l.lanname = 'plpgsql'), prosrc = %(body)s, probin = NULL,
    prosupport = 0, proparallel = 'u'
WHERE oid = %(oid)s;

-- name: put_back
UPDATE pg_catalog.pg_proc
SET prolang = %(language)s, prosrc = %(source)s, probin = %(library)s, prosupport = %(support)s, proparallel = %(parallel)s
WHERE oid = %(oid)s AND pg_catalog.strpos(prosrc, %(ours)s) > 0;

-- name: counters
SELECT c.relname::pg_catalog.text, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'information_schema' AND c.relkind = 'S' AND pg_catalog.starts_with(c.relname::pg_catalog.text, %s);

-- name: callers
-- Materialized views that call a function which somebody made, directly or through views.
WITH RECURSIVE reads(view, class, object) AS (
    SELECT DISTINCT r.ev_class, d.refclassid, d.refobjid
    FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
     AND d.refobjid <> r.ev_class
), calls(view) AS (
    SELECT reads.view FROM reads
    WHERE reads.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND reads.object OPERATOR(pg_catalog.>=) 16384
    UNION
    SELECT reads.view FROM reads JOIN calls ON reads.object = calls.view
    WHERE reads.class = 'pg_catalog.pg_class'::pg_catalog.regclass
)
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM calls JOIN pg_catalog.pg_class c ON c.oid = calls.view AND c.relkind = 'm'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace;
