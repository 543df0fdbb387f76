-- name: edges
-- What expressions, views and routines of users are made of.  What initdb made is pinned and stands in no row.
SELECT d.classid::int8, d.objid::int8, d.refclassid::int8, d.refobjid::int8
FROM pg_catalog.pg_depend d
WHERE d.classid IN ('pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass,
                    'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_rewrite'::pg_catalog.regclass,
                    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                    'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass)
  AND (d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                        'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass)
       OR d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.classid IN ('pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
          AND d.deptype = 'n')
  AND d.deptype IN ('n', 'a')
UNION ALL
-- a view is what its rule asks
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid::int8, r.ev_class::int8,
       'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid::int8, r.oid::int8
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';

-- name: routines
-- In languages whose text is there to read; what is compiled is nobody's to change by SQL.
SELECT p.oid::int8, p.proname::text, p.prosrc, l.lanname::text,
       pg_catalog.md5(pg_catalog.concat_ws(' ', p.prosrc, p.prosqlbody::text, p.proconfig::text, p.provolatile,
                                           p.proisstrict, p.prolang, p.prosecdef))
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE l.lanname NOT IN ('internal', 'c') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';

-- name: views
SELECT c.oid::int8, c.relname::text FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';

-- name: casts
-- Casts by routines of users: an expression that is printed and read again may come to be read with one.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_cast k
    JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE k.oid >= 16384 AND l.lanname NOT IN ('internal', 'c')
)
