-- What a commit changed in the catalogs.  search_path is empty while these run, so every name that the server prints
-- is qualified.  No statement asks what a lock could hold up but `objects`, which only the holder of the locks sends.

-- name: living
-- $1 oids, $2 names: tables, views and sequences among these; $3: among those that this transaction holds a lock on too;
-- $4 names that are left out: the migration ledger may be locked against everybody.
-- An index stands for its table.
WITH asked AS (
    SELECT u.oid FROM pg_catalog.unnest($1::oid[]) AS u (oid)
    UNION
    SELECT l.relation
    FROM pg_catalog.pg_locks l
    WHERE $3 AND l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND l.relation >= 16384
), wanted AS (
    SELECT COALESCE((SELECT i.indrelid FROM pg_catalog.pg_index i WHERE i.indexrelid = asked.oid), asked.oid) AS oid
    FROM asked
    UNION
    SELECT c.oid
    FROM pg_catalog.unnest($2::text[]) AS u (name), LATERAL pg_catalog.parse_ident(u.name) AS part
    JOIN pg_catalog.pg_namespace n ON n.nspname = part[1]
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = part[2]
), living AS MATERIALIZED (
    SELECT c.*, c.xmin AS xmin_, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
    FROM wanted w JOIN pg_catalog.pg_class c ON c.oid = w.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
      AND pg_catalog.format('%I.%I', n.nspname, c.relname) <> ALL ($4::text[])
      AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                        AND d.deptype = 'e')
)

-- name: held
-- Relations of users that this transaction holds a lock on, and whether they are still there.
SELECT l.relation::bigint, EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = l.relation)
FROM (SELECT DISTINCT l.relation FROM pg_catalog.pg_locks l
      WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid() AND l.relation >= 16384) l;

-- name: every_relation
SELECT c.oid::bigint, pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND c.oid >= 16384;

-- name: relations
-- Behind `living`.  `version`: which catalog rows there are, each with the transaction that wrote it (VACUUM and ANALYZE
-- write theirs in place).
SELECT living.oid::bigint, living.name,
    (SELECT p.inhparent::pg_catalog.regclass::text
     FROM pg_catalog.pg_inherits p JOIN pg_catalog.pg_class c ON c.oid = p.inhrelid
     WHERE p.inhrelid = living.oid AND c.relispartition),
    pg_catalog.concat_ws(' ', living.xmin_,
        (SELECT pg_catalog.string_agg(r.attnum || ':' || r.xmin, ',' ORDER BY r.attnum) FROM pg_catalog.pg_attribute r
         WHERE r.attrelid = living.oid AND r.attnum > 0),
        (SELECT pg_catalog.string_agg(r.oid || ':' || r.xmin, ',' ORDER BY r.oid) FROM pg_catalog.pg_attrdef r
         WHERE r.adrelid = living.oid),
        (SELECT pg_catalog.string_agg(r.oid || ':' || r.xmin, ',' ORDER BY r.oid) FROM pg_catalog.pg_constraint r
         WHERE r.conrelid = living.oid),
        (SELECT pg_catalog.string_agg(r.indexrelid || ':' || r.xmin, ',' ORDER BY r.indexrelid)
         FROM pg_catalog.pg_index r WHERE r.indrelid = living.oid),
        (SELECT pg_catalog.string_agg(r.oid || ':' || r.xmin, ',' ORDER BY r.oid) FROM pg_catalog.pg_trigger r
         WHERE r.tgrelid = living.oid),
        (SELECT pg_catalog.string_agg(r.oid || ':' || r.xmin, ',' ORDER BY r.oid) FROM pg_catalog.pg_policy r
         WHERE r.polrelid = living.oid),
        (SELECT pg_catalog.string_agg(r.oid || ':' || r.xmin, ',' ORDER BY r.oid) FROM pg_catalog.pg_rewrite r
         WHERE r.ev_class = living.oid))
FROM living;

-- name: objects
-- Behind `living`.  relation oid, object, frame of the text that has a normal form, that text, what is compared as it
-- stands; with the relation itself its name and the parent of which it is a partition.
-- Left out, as in a schema's snapshot: tablespaces, grants, comments, copies that partitions have of their parent's.
SELECT c.oid::bigint, 'relation'::text AS object,
    CASE WHEN c.relkind IN ('v', 'm') THEN 'statement' WHEN c.relkind = 'p' THEN 'partition key' END AS frame,
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid)
         WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS text,
    pg_catalog.concat_ws('; ', 'kind ' || c.relkind::text, 'owner ' || pg_catalog.pg_get_userbyid(c.relowner),
        'persistence ' || c.relpersistence::text, 'replica identity ' || c.relreplident::text,
        CASE WHEN c.relrowsecurity THEN 'row security' END, CASE WHEN c.relforcerowsecurity THEN 'forced' END,
        (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") FROM pg_catalog.unnest(c.reloptions) o),
        CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END,
        (SELECT 'inherits ' || pg_catalog.string_agg(i.inhparent::pg_catalog.regclass::text, ', ' ORDER BY i.inhseqno)
         FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)) AS plain,
    c.name,
    (SELECT p.inhparent::pg_catalog.regclass::text FROM pg_catalog.pg_inherits p
     WHERE p.inhrelid = c.oid AND c.relispartition) AS parent
FROM living c
UNION ALL
SELECT a.attrelid::bigint, 'column ' || pg_catalog.quote_ident(a.attname),
    -- of no table where it names no column: see read_columns of snapshot.sql
    'expression', pg_catalog.pg_get_expr(d.adbin, CASE WHEN a.attgenerated = '' THEN 0 ELSE d.adrelid END),
    pg_catalog.concat_ws('; ', pg_catalog.format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::pg_catalog.regcollation::text END,
        CASE WHEN a.attnotnull THEN 'not null' END,
        CASE WHEN a.attnotnull THEN
            (SELECT CASE WHEN n.convalidated THEN NULL ELSE 'not valid' END FROM pg_catalog.pg_constraint n
             WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum]) END,
        CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text END,
        CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::text END), NULL, NULL
FROM living c
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind <> 'S'
UNION ALL
SELECT n.conrelid::bigint, 'constraint ' || pg_catalog.quote_ident(n.conname),
    'constraint', pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(n.oid), ' NOT VALID$', ''),
    CASE WHEN n.convalidated THEN 'valid' ELSE 'not valid' END, NULL, NULL
FROM living c JOIN pg_catalog.pg_constraint n ON n.conrelid = c.oid
WHERE n.contype IN ('c', 'f', 'p', 'u', 'x') AND n.conparentid = 0
  AND NOT (n.contype = 'c' AND n.coninhcount > 0 AND NOT n.conislocal)
UNION ALL
SELECT i.indrelid::bigint, 'index ' || pg_catalog.quote_ident(x.relname), 'statement', pg_catalog.pg_get_indexdef(x.oid),
    pg_catalog.concat_ws('; ', CASE WHEN NOT i.indisvalid THEN 'invalid' END,
        CASE WHEN i.indisclustered THEN 'clustered' END), NULL, NULL
FROM living c JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits p WHERE p.inhrelid = x.oid)
UNION ALL
SELECT t.tgrelid::bigint, 'trigger ' || pg_catalog.quote_ident(t.tgname), 'statement',
    pg_catalog.pg_get_triggerdef(t.oid), 'enabled ' || t.tgenabled::text, NULL, NULL
FROM living c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT p.polrelid::bigint, 'policy ' || pg_catalog.quote_ident(p.polname), 'expression',
    pg_catalog.pg_get_expr(p.polqual, p.polrelid),
    pg_catalog.concat_ws('; ', p.polcmd, p.polpermissive, pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
        (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r) END, ', '
                                      ORDER BY pg_catalog.pg_get_userbyid(r) COLLATE "C")
         FROM pg_catalog.unnest(p.polroles) r)), NULL, NULL
FROM living c JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid
UNION ALL
SELECT w.ev_class::bigint, 'rule ' || pg_catalog.quote_ident(w.rulename), 'statement', pg_catalog.pg_get_ruledef(w.oid),
    'enabled ' || w.ev_enabled::text, NULL, NULL
FROM living c JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid AND w.rulename <> '_RETURN';

-- name: other_versions
-- Functions, types, namespaces and extensions of users, each with the transactions that wrote it, and the part of this
-- query that found it.  $1: all of them; else only the parts whose catalogs this transaction wrote, by its own counters,
-- and, $2, composite types; which parts were read stands in the rows of kind `read`.
WITH written AS MATERIALIZED (
    SELECT t.part
    FROM (VALUES ('function', 'pg_catalog.pg_proc'::pg_catalog.regclass::oid),
                 ('type', 'pg_catalog.pg_type'::pg_catalog.regclass),
                 ('type', 'pg_catalog.pg_enum'::pg_catalog.regclass),
                 ('type', 'pg_catalog.pg_constraint'::pg_catalog.regclass),
                 ('composite type', 'pg_catalog.pg_type'::pg_catalog.regclass),
                 ('schema', 'pg_catalog.pg_namespace'::pg_catalog.regclass),
                 ('extension', 'pg_catalog.pg_extension'::pg_catalog.regclass)) AS t (part, catalog)
    WHERE $1::boolean OR ($2::boolean AND t.part = 'composite type')
       OR pg_catalog.current_setting('track_counts') <> 'on'
       OR pg_catalog.pg_stat_get_xact_tuples_inserted(t.catalog) > 0
       OR pg_catalog.pg_stat_get_xact_tuples_updated(t.catalog) > 0
       OR pg_catalog.pg_stat_get_xact_tuples_deleted(t.catalog) > 0
)
SELECT DISTINCT 'read'::text, 0::bigint, ''::text, part FROM written
UNION ALL
SELECT 'function', p.oid::bigint, p.xmin::text, 'function'
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE (SELECT pg_catalog.bool_or(part = 'function') FROM written)
  AND p.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse')
UNION ALL
SELECT 'type', t.oid::bigint, pg_catalog.concat_ws(' ', t.xmin,
    (SELECT pg_catalog.string_agg(e.oid || ':' || e.xmin, ',' ORDER BY e.oid) FROM pg_catalog.pg_enum e
     WHERE e.enumtypid = t.oid),
    (SELECT pg_catalog.string_agg(k.oid || ':' || k.xmin, ',' ORDER BY k.oid) FROM pg_catalog.pg_constraint k
     WHERE k.contypid = t.oid)), 'type'
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE (SELECT pg_catalog.bool_or(part = 'type') FROM written)
  AND t.typtype IN ('e', 'd', 'r') AND t.oid >= 16384
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse')
UNION ALL
SELECT 'type', c.reltype::bigint, pg_catalog.concat_ws(' ', c.xmin,
    (SELECT pg_catalog.string_agg(a.attnum || ':' || a.xmin, ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0)), 'composite type'
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (SELECT pg_catalog.bool_or(part = 'composite type') FROM written)
  AND c.relkind = 'c' AND c.oid >= 16384
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse')
UNION ALL
SELECT 'schema', n.oid::bigint, n.xmin::text, 'schema'
FROM pg_catalog.pg_namespace n
WHERE (SELECT pg_catalog.bool_or(part = 'schema') FROM written)
  AND n.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('pgrehearse', 'pgrehearse_quarantine', 'drizzle')
UNION ALL
SELECT 'extension', e.oid::bigint, e.xmin::text, 'extension' FROM pg_catalog.pg_extension e
WHERE (SELECT pg_catalog.bool_or(part = 'extension') FROM written);

-- name: others
-- kind, oid, name, frame, text, what is compared as it stands.  An extension stands for its members.
SELECT 'function', p.oid::bigint, 'function ' || p.oid::pg_catalog.regprocedure::text,
    CASE WHEN p.prosqlbody IS NOT NULL THEN 'statement' END,
    CASE WHEN p.prosqlbody IS NOT NULL THEN pg_catalog.pg_get_functiondef(p.oid) END,
    pg_catalog.concat_ws('; ', 'owner ' || pg_catalog.pg_get_userbyid(p.proowner),
        CASE WHEN p.prosqlbody IS NULL AND p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid) END)
FROM pg_catalog.pg_proc p
WHERE p.oid = ANY ($1::oid[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'type', t.oid::bigint, 'type ' || pg_catalog.format_type(t.oid, NULL),
    'expression', t.typdefault,
    pg_catalog.concat_ws('; ', 'kind ' || t.typtype::text, 'owner ' || pg_catalog.pg_get_userbyid(t.typowner),
        CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END,
        CASE WHEN t.typnotnull THEN 'not null' END,
        (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
         FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
        (SELECT pg_catalog.string_agg(k.conname || ' ' || pg_catalog.pg_get_constraintdef(k.oid), ', '
                                      ORDER BY k.conname COLLATE "C")
         FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'),
        (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname) || ' '
                                      || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_catalog.pg_type t
WHERE t.oid = ANY ($1::oid[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT 'schema', n.oid::bigint, 'schema ' || pg_catalog.quote_ident(n.nspname), NULL, NULL,
    'owner ' || pg_catalog.pg_get_userbyid(n.nspowner)
FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($1::oid[])
UNION ALL
SELECT 'extension', e.oid::bigint, 'extension ' || pg_catalog.quote_ident(e.extname), NULL, NULL, e.extversion
FROM pg_catalog.pg_extension e WHERE e.oid = ANY ($1::oid[]);

-- name: other_names
-- The same names, asking nothing that takes a lock.
SELECT 'function', p.oid::bigint, 'function ' || p.oid::pg_catalog.regprocedure::text
FROM pg_catalog.pg_proc p WHERE p.oid = ANY ($1::oid[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'type', t.oid::bigint, 'type ' || pg_catalog.format_type(t.oid, NULL)
FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1::oid[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT 'schema', n.oid::bigint, 'schema ' || pg_catalog.quote_ident(n.nspname)
FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ($1::oid[])
UNION ALL
SELECT 'extension', e.oid::bigint, 'extension ' || pg_catalog.quote_ident(e.extname)
FROM pg_catalog.pg_extension e WHERE e.oid = ANY ($1::oid[]);
