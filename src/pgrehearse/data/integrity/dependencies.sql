-- name: edges
-- What expressions, views and routines of users are made of.  What initdb made is pinned and stands in no row.
SELECT d.classid::int8, d.objid::int8, d.refclassid::int8, d.refobjid::int8
FROM pg_catalog.pg_depend d
WHERE d.classid IN ('pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass,
                    'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_rewrite'::pg_catalog.regclass,
                    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                    'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass)
  AND (d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                        'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass,
                        'pg_catalog.pg_ts_config'::pg_catalog.regclass, 'pg_catalog.pg_ts_dict'::pg_catalog.regclass)
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

-- name: ordering_edges
-- By what an index keeps its order: operator classes, and those of the types inside the types of its keys.
SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass::oid::int8, c.oid::int8,
       'pg_catalog.pg_proc'::pg_catalog.regclass::oid::int8, p.amproc::oid::int8
FROM pg_catalog.pg_opclass c
JOIN pg_catalog.pg_amproc p ON p.amprocfamily = c.opcfamily
WHERE p.amproc::oid >= 16384
UNION
SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass::oid::int8, c.oid::int8,
       'pg_catalog.pg_operator'::pg_catalog.regclass::oid::int8, o.amopopr::int8
FROM pg_catalog.pg_opclass c
JOIN pg_catalog.pg_amop o ON o.amopfamily = c.opcfamily
WHERE o.amopopr >= 16384
UNION
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid::int8, a.attrelid::int8,
       'pg_catalog.pg_type'::pg_catalog.regclass::oid::int8, a.atttypid::int8
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indexrelid
WHERE a.atttypid >= 16384
UNION
SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid::int8, c.opcintype::int8,
       'pg_catalog.pg_opclass'::pg_catalog.regclass::oid::int8, c.oid::int8
FROM pg_catalog.pg_opclass c
WHERE c.opcdefault AND c.opcintype >= 16384
UNION
SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid::int8, t.oid::int8,
       'pg_catalog.pg_type'::pg_catalog.regclass::oid::int8, inside.oid::int8
FROM pg_catalog.pg_type t
CROSS JOIN LATERAL (
    SELECT t.typelem AS oid
    UNION ALL SELECT t.typbasetype
    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid
    UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
    UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid
) inside
WHERE t.oid >= 16384 AND inside.oid >= 16384
UNION
SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid::int8, r.rngtypid::int8, made.catalog::oid::int8, made.oid::int8
FROM pg_catalog.pg_range r
CROSS JOIN LATERAL (VALUES ('pg_catalog.pg_opclass'::pg_catalog.regclass, r.rngsubopc),
                           ('pg_catalog.pg_proc'::pg_catalog.regclass, r.rngcanonical::oid)) AS made (catalog, oid)
WHERE r.rngtypid >= 16384 AND made.oid <> 0;

-- name: text_search_edges
-- A configuration asks its dictionaries, and a thesaurus another one, by its name.
SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass::oid::int8, m.mapcfg::int8,
       'pg_catalog.pg_ts_dict'::pg_catalog.regclass::oid::int8, m.mapdict::int8
FROM pg_catalog.pg_ts_config_map m
UNION
SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass::oid::int8, d.oid::int8,
       'pg_catalog.pg_ts_dict'::pg_catalog.regclass::oid::int8, other.oid::int8
FROM pg_catalog.pg_ts_dict d
JOIN pg_catalog.pg_ts_dict other ON pg_catalog.strpos(d.dictinitoption, other.dictname::text) > 0
UNION
-- An expression that takes it from a column may use each; those that are pinned stand in no row of pg_depend.
-- 3734 and 3769 are regconfig and regdictionary.
SELECT e.catalog, e.oid, t.catalog::oid::int8, t.oid::int8
FROM (
    SELECT e.catalog::oid::int8, e.oid::int8, e.tree ~ ':vartype (3734|3769) ' AS any_of_them,
           e.tree ~ ':consttype (3734|3769) ' AS a_known_one
    FROM (
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS catalog, i.indexrelid AS oid,
               pg_catalog.concat(i.indexprs::text, i.indpred::text) AS tree
        FROM pg_catalog.pg_index i WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
        UNION ALL
        SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid, d.adbin::text FROM pg_catalog.pg_attrdef d
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, con.oid, con.conbin::text
        FROM pg_catalog.pg_constraint con WHERE con.conbin IS NOT NULL
        UNION ALL
        SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, r.ev_action::text
        FROM pg_catalog.pg_rewrite r WHERE r.ev_class >= 16384
    ) e
    WHERE e.tree ~ ':(vartype|consttype) (3734|3769) '
    OFFSET 0  -- each tree is searched once, and not once for each configuration
) e
JOIN (
    SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass AS catalog, c.oid FROM pg_catalog.pg_ts_config c
    UNION ALL
    SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, d.oid FROM pg_catalog.pg_ts_dict d
) t ON e.any_of_them OR (e.a_known_one AND t.oid < 12000);

-- name: text_search
-- Configurations and dictionaries, with a digest of all that decides what they do.
SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass::oid::int8, c.oid::int8, c.cfgname::text,
       pg_catalog.md5(pg_catalog.concat_ws(' ', c.cfgparser, (
           SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', m.maptokentype, m.mapseqno, m.mapdict), ','
                                        ORDER BY m.maptokentype, m.mapseqno)
           FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = c.oid)))
FROM pg_catalog.pg_ts_config c
UNION ALL
SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass::oid::int8, d.oid::int8, d.dictname::text,
       pg_catalog.md5(pg_catalog.concat_ws(' ', d.dicttemplate, d.dictinitoption))
FROM pg_catalog.pg_ts_dict d;

-- name: text_search_functions
-- Called in a function's text, they may take whichever configuration is the default.
SELECT DISTINCT p.proname::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
  AND p.proargtypes::oid[] && ARRAY[3734, 3769]::oid[];

-- name: compiled
-- Of routines of users: what they do is another thing once they stand for another symbol.
SELECT p.oid::int8, pg_catalog.md5(pg_catalog.concat_ws(' ', p.prosrc, p.probin, p.proconfig::text, p.proisstrict))
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE l.lanname IN ('internal', 'c') AND p.oid >= 16384;

-- name: routines
-- In languages whose text is there to read.
SELECT p.oid::int8, p.proname::text, COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc), l.lanname::text,
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
