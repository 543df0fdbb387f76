-- The catalogs as rows.  Every statement gives first: kind, class, oid, subid, relation_oid, relation, name;
-- each further column is an attribute, named as it is shown, NULL when it has its default; `_name` is for the reader only.
-- The relation is NULL where it is one of its own, or one that the reader names by its oid (columns, constraints, indexes).
-- Statements of five columns give: class, oid, subid, attribute, value, and add to an object read before.
-- search_path is empty while these run, so every name that the server prints is qualified.
-- Parameters: namespaces oid[] (those that count), left_out oid[] (relations that do not); relations, types, functions,
-- objects oid[]: only these, or NULL for all.

-- name: namespaces
-- Ours and the server's own never count; a temporary namespace is one session's.
SELECT n.oid, pg_catalog.quote_ident(n.nspname)
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse', 'pgrehearse_quarantine');

-- name: members
-- Whatever an extension owns comes and goes with the extension's version.
SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.deptype = 'e';

-- name: left_out_relations
-- Members of extensions (%(members)s), relations the caller names, and the sequences that belong to these.
WITH named AS (
    SELECT c.oid
    FROM pg_catalog.unnest(%(names)s::text[]) AS u (name), LATERAL pg_catalog.parse_ident(u.name) AS part
    JOIN pg_catalog.pg_namespace n ON n.nspname = part[1]
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = part[2]
    UNION
    SELECT m.oid FROM pg_catalog.unnest(%(members)s::oid[]) AS m (oid)
)
SELECT oid FROM named
UNION
SELECT s.oid
FROM pg_catalog.pg_depend d JOIN named ON named.oid = d.refobjid JOIN pg_catalog.pg_class s ON s.oid = d.objid
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid
  AND d.deptype IN ('a', 'i') AND s.relkind = 'S';

-- name: inheritance
-- Traditional inheritance only: a partition keeps its own column order through a dump, such a child does not.
SELECT i.inhrelid, i.inhparent
FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE c.relkind IN ('r', 'f') AND NOT c.relispartition
ORDER BY i.inhrelid, i.inhseqno;

-- name: read_namespaces
SELECT 'schema', 'pg_catalog.pg_namespace'::pg_catalog.regclass::oid, n.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(n.nspname),
    pg_catalog.pg_get_userbyid(n.nspowner) AS "owner"
FROM pg_catalog.pg_namespace n WHERE n.oid = ANY (%(namespaces)s::oid[]);

-- name: read_relations
-- Tablespaces are left out: where files lie is one server's business.
SELECT
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END,
    'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid, 0, c.oid, NULL,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
    pg_catalog.pg_get_userbyid(c.relowner) AS "owner",
    CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS "persistence",
    CASE WHEN am.amname <> 'heap' THEN am.amname END AS "access method",
    CASE WHEN c.reloptions IS NOT NULL THEN (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") FROM pg_catalog.unnest(c.reloptions) o) END AS "options",
    CASE WHEN t.reloptions IS NOT NULL THEN (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") FROM pg_catalog.unnest(t.reloptions) o) END AS "toast options",
    CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'using index' END AS "replica identity",
    CASE WHEN c.relrowsecurity AND c.relforcerowsecurity THEN 'enabled, forced'
         WHEN c.relrowsecurity THEN 'enabled' WHEN c.relforcerowsecurity THEN 'forced' END AS "row security",
    CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END AS "of type",
    CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS "partition key",
    CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END AS "partition bound",
    i.parents AS "inherits",
    CASE WHEN i.pending THEN 'yes' END AS "detach pending",
    s.srvname AS "server",
    CASE WHEN f.ftoptions IS NOT NULL THEN (SELECT pg_catalog.string_agg(o.option_name || '=' || pg_catalog.quote_literal(o.option_value), ', ' ORDER BY o.option_name COLLATE "C")
     FROM pg_catalog.pg_options_to_table(f.ftoptions) o
     WHERE o.option_name !~* 'pass|secret|token|key|user|credential') END AS "foreign options"
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid AND t.reloptions IS NOT NULL
LEFT JOIN (
    SELECT x.inhrelid, pg_catalog.bool_or(x.inhdetachpending) AS pending,
           pg_catalog.string_agg(x.inhparent::pg_catalog.regclass::text, ', ' ORDER BY x.inhseqno) AS parents
    FROM pg_catalog.pg_inherits x GROUP BY x.inhrelid
) i ON i.inhrelid = c.oid
LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
LEFT JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relnamespace = ANY (%(namespaces)s::oid[])
  AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_replica_identities
-- The index behind REPLICA IDENTITY USING INDEX, by its columns: its name may be generated on a partition.
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, i.indrelid, 0, 'replica identity',
    'using index on ' || (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
                          FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indexrelid)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
WHERE i.indisreplident AND c.relreplident = 'i'
  AND (%(relations)s::oid[] IS NULL OR i.indrelid = ANY (%(relations)s::oid[]));

-- name: read_columns
-- Not ordered here: a sort of so wide rows goes to disk.  attstattarget: -1 up to 16, NULL from 17 on.
-- A default names no column, so it is printed as of no table: with the table, before 18 each takes as long as the table
-- has columns, squared (1,600 defaults on 15: 15 s).
SELECT 'table column', 'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid, a.attnum, c.oid,
    NULL,
    pg_catalog.quote_ident(a.attname),
    NULLIF(a.attinhcount, 0) AS _inherited,
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS "type",
    CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::pg_catalog.regcollation::text END AS "collation",
    CASE WHEN a.attnotnull THEN 'yes' END AS "not null",
    CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, 0) END AS "default",
    CASE WHEN t.typtype = 'd' THEN true END AS _domain,
    CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS "identity",
    CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END AS "generated",
    CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS "generation expression",
    CASE WHEN a.attstorage <> t.typstorage AND c.relkind NOT IN ('v') THEN
        CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended' END END AS "storage",
    CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS "compression",
    CASE WHEN a.attstattarget >= 0 THEN a.attstattarget::text END AS "statistics target",
    -- A server of late 2026 (15.20) stamps each column with pg_attver, anew at every change of its type and in every restore.
    CASE WHEN a.attoptions IS NOT NULL THEN (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C")
     FROM pg_catalog.unnest(a.attoptions) o WHERE o NOT LIKE 'pg\_attver=%%') END AS "options",
    CASE WHEN a.attfdwoptions IS NOT NULL THEN (SELECT pg_catalog.string_agg(o.option_name || '=' || pg_catalog.quote_literal(o.option_value), ', ' ORDER BY o.option_name COLLATE "C")
     FROM pg_catalog.pg_options_to_table(a.attfdwoptions) o) END AS "foreign options",
    -- Defined here and inherited too: it stays when the parent drops it.
    CASE WHEN a.attinhcount > 0 AND a.attislocal AND NOT c.relispartition THEN 'yes' END AS "also defined locally"
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relnamespace = ANY (%(namespaces)s::oid[])
  AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_not_null_constraints_18
-- 18 keeps NOT NULL in pg_constraint: by column, never by name (the name stays when a column is renamed).
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, con.conrelid, con.conkey[1], 'not null',
    pg_catalog.concat_ws(', ', 'yes', CASE WHEN NOT con.convalidated THEN 'not valid' END,
                         CASE WHEN con.connoinherit THEN 'no inherit' END)
FROM pg_catalog.pg_constraint con
WHERE con.contype = 'n' AND con.conrelid <> 0 AND (NOT con.convalidated OR con.connoinherit)
  AND (%(relations)s::oid[] IS NULL OR con.conrelid = ANY (%(relations)s::oid[]));

-- name: read_constraints
-- Its relation is named by the reader, as a column's and an index's is.
-- Inherited copies say nothing of their own: the parent's constraint implies them, and their names are generated.
SELECT 'table constraint', 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, con.oid, 0, c.oid,
    NULL,
    pg_catalog.quote_ident(con.conname),
    CASE WHEN con.convalidated THEN pg_catalog.pg_get_constraintdef(con.oid)
         ELSE pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(con.oid), ' NOT VALID$', '') END AS "definition",
    CASE WHEN NOT con.convalidated AND COALESCE((pg_catalog.to_jsonb(con) ->> 'conenforced')::boolean, true) THEN 'yes' END AS "not valid"
FROM pg_catalog.pg_constraint con
JOIN pg_catalog.pg_class c ON c.oid = con.conrelid
WHERE con.contype IN ('c', 'f', 'p', 'u', 'x') AND con.conparentid = 0
  AND NOT (con.contype = 'c' AND con.coninhcount > 0 AND NOT con.conislocal)
  AND c.relnamespace = ANY (%(namespaces)s::oid[]) AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR con.conrelid = ANY (%(relations)s::oid[]));

-- name: read_domain_constraints
SELECT 'domain constraint', 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, con.oid, 0, NULL::oid,
    pg_catalog.format_type(con.contypid, NULL), pg_catalog.quote_ident(con.conname),
    con.contypid AS _type,
    pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(con.oid), ' NOT VALID$', '') AS "definition",
    CASE WHEN NOT con.convalidated THEN 'yes' END AS "not valid"
FROM pg_catalog.pg_constraint con JOIN pg_catalog.pg_type t ON t.oid = con.contypid
WHERE con.contype = 'c' AND t.typnamespace = ANY (%(namespaces)s::oid[])
  AND (%(types)s::oid[] IS NULL OR con.contypid = ANY (%(types)s::oid[]))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid AND e.deptype = 'e');

-- name: read_indexes
-- pg_get_indexdef knows neither statistics targets nor CLUSTER.  Behind a constraint the definition is the constraint's.
SELECT 'index', 'pg_catalog.pg_class'::pg_catalog.regclass::oid, x.oid, 0, c.oid,
    NULL,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(x.relname),
    CASE WHEN p.inhparent IS NOT NULL THEN pg_catalog.pg_partition_root(x.oid)::text END AS _parent,
    con.oid AS _constraint,
    pg_catalog.quote_ident(x.relname) AS _own_name,
    CASE WHEN con.oid IS NULL AND p.inhparent IS NULL THEN pg_catalog.pg_get_indexdef(x.oid) END AS "definition",
    CASE WHEN NOT i.indisvalid THEN 'yes' END AS "invalid",
    CASE WHEN i.indisclustered THEN 'yes' END AS "clustered",
    CASE WHEN i.indexprs IS NOT NULL THEN  -- only an expression's can be set
        (SELECT pg_catalog.string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.oid AND a.attstattarget >= 0 AND a.attnum > 0) END AS "statistics targets",
    CASE WHEN p.inhparent IS NOT NULL THEN
        (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") FROM pg_catalog.unnest(x.reloptions) o) END AS "options"
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_inherits p ON p.inhrelid = x.oid
LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = x.oid AND con.contype IN ('p', 'u', 'x') AND con.conrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace = ANY (%(namespaces)s::oid[])
  AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_sequences
SELECT 'sequence', 'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid, 0, c.oid, NULL,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
    pg_catalog.pg_get_userbyid(c.relowner) AS "owner",
    CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS "persistence",
    -- of an identity column its column decides: LIKE ... INCLUDING ALL makes a bigint one for an integer, pg_dump does not
    CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                            AND d.refclassid = d.classid AND d.deptype = 'i')
         THEN pg_catalog.format_type(q.seqtypid, NULL) END AS "type",
    q.seqstart::text AS "start", q.seqincrement::text AS "increment", q.seqmin::text AS "minimum", q.seqmax::text AS "maximum",
    q.seqcache::text AS "cache", CASE WHEN q.seqcycle THEN 'yes' END AS "cycle",
    (SELECT d.refobjid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(a.attname)
            || CASE d.deptype WHEN 'i' THEN ' (identity)' ELSE '' END
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
       AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0) AS "owned by"
FROM pg_catalog.pg_sequence q
JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relnamespace = ANY (%(namespaces)s::oid[]) AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_triggers
-- A partition's copy counts only where it is enabled otherwise than its parent's.
SELECT 'trigger', 'pg_catalog.pg_trigger'::pg_catalog.regclass::oid, t.oid, 0, c.oid,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(t.tgname),
    CASE WHEN t.tgparentid <> 0 THEN 'yes' END AS _parent,
    CASE WHEN t.tgparentid = 0 THEN pg_catalog.pg_get_triggerdef(t.oid) END AS "definition",
    CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always'
        ELSE CASE WHEN t.tgparentid <> 0 THEN 'origin' END END AS "enabled"
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_trigger u ON u.oid = t.tgparentid
WHERE ((NOT t.tgisinternal AND t.tgparentid = 0) OR (NOT u.tgisinternal AND u.tgenabled <> t.tgenabled))
  AND c.relnamespace = ANY (%(namespaces)s::oid[]) AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_disabled_foreign_keys
-- DISABLE TRIGGER ALL silences foreign keys too, and pg_dump does not say so: a clone enforces what its origin does not.
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, t.tgrelid, 0, 'foreign key triggers not enabled',
    pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(COALESCE(root.conname, con.conname)), ', ')
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_constraint con ON con.oid = t.tgconstraint
LEFT JOIN pg_catalog.pg_constraint root ON root.oid = con.conparentid
WHERE t.tgisinternal AND t.tgenabled <> 'O' AND con.contype = 'f'
  AND (%(relations)s::oid[] IS NULL OR t.tgrelid = ANY (%(relations)s::oid[]))
GROUP BY t.tgrelid;

-- name: read_policies
SELECT 'policy', 'pg_catalog.pg_policy'::pg_catalog.regclass::oid, p.oid, 0, c.oid,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(p.polname),
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS "command",
    CASE WHEN NOT p.polpermissive THEN 'yes' END AS "restrictive",
    (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(r) END, ', '
                                  ORDER BY pg_catalog.pg_get_userbyid(r) COLLATE "C") FROM pg_catalog.unnest(p.polroles) r) AS "roles",
    pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS "using",
    pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS "with check"
FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relnamespace = ANY (%(namespaces)s::oid[]) AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_rules
-- The definition is read apart, in batches: printing one locks every relation that it names.
SELECT 'rule', 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid, r.oid, 0, c.oid,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(r.rulename),
    CASE r.ev_enabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END AS "enabled"
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND c.relnamespace = ANY (%(namespaces)s::oid[]) AND c.oid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]));

-- name: read_functions
-- A function that a type made for itself (a range's constructors) says nothing of its own.
-- A body that the server stores parsed (BEGIN ATOMIC) is printed apart, in batches, for its locks.
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
    'pg_catalog.pg_proc'::pg_catalog.regclass::oid, p.oid, 0, NULL::oid, NULL,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
        || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
    p.prosqlbody IS NOT NULL AS _parsed,
    pg_catalog.pg_get_userbyid(p.proowner) AS "owner",
    CASE WHEN p.prokind <> 'a' AND p.prosqlbody IS NULL THEN pg_catalog.pg_get_functiondef(p.oid) END AS "definition",
    CASE WHEN a.aggfnoid IS NOT NULL THEN pg_catalog.concat_ws(', ',
        'arguments ' || pg_catalog.pg_get_function_arguments(p.oid), 'returns ' || pg_catalog.pg_get_function_result(p.oid),
        'kind ' || a.aggkind::text, 'direct arguments ' || a.aggnumdirectargs,
        'sfunc ' || a.aggtransfn::pg_catalog.regprocedure, 'stype ' || pg_catalog.format_type(a.aggtranstype, NULL),
        'sspace ' || a.aggtransspace, 'initcond ' || pg_catalog.quote_literal(a.agginitval),
        'finalfunc ' || NULLIF(a.aggfinalfn, 0)::pg_catalog.regprocedure, 'finalfunc extra ' || a.aggfinalextra,
        'finalfunc modify ' || a.aggfinalmodify::text, 'combinefunc ' || NULLIF(a.aggcombinefn, 0)::pg_catalog.regprocedure,
        'serialfunc ' || NULLIF(a.aggserialfn, 0)::pg_catalog.regprocedure,
        'deserialfunc ' || NULLIF(a.aggdeserialfn, 0)::pg_catalog.regprocedure,
        'msfunc ' || NULLIF(a.aggmtransfn, 0)::pg_catalog.regprocedure,
        'minvfunc ' || NULLIF(a.aggminvtransfn, 0)::pg_catalog.regprocedure,
        'mstype ' || pg_catalog.format_type(NULLIF(a.aggmtranstype, 0), NULL), 'msspace ' || a.aggmtransspace,
        'minitcond ' || pg_catalog.quote_literal(a.aggminitval),
        'mfinalfunc ' || NULLIF(a.aggmfinalfn, 0)::pg_catalog.regprocedure, 'mfinalfunc extra ' || a.aggmfinalextra,
        'mfinalfunc modify ' || a.aggmfinalmodify::text,
        'sortop ' || NULLIF(a.aggsortop, 0)::pg_catalog.regoperator, 'parallel ' || p.proparallel::text) END AS "aggregate"
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
WHERE p.pronamespace = ANY (%(namespaces)s::oid[])
  AND (%(functions)s::oid[] IS NULL OR p.oid = ANY (%(functions)s::oid[]))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype IN ('i', 'e'));

-- name: view_definitions
-- Printing a view locks every relation that it names until the (sub)transaction ends.
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, v.oid, 0, 'definition', pg_catalog.pg_get_viewdef(v.oid)
FROM pg_catalog.unnest(%(oids)s::oid[]) AS v (oid);

-- name: rule_definitions
SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid, r.oid, 0, 'definition', pg_catalog.pg_get_ruledef(r.oid)
FROM pg_catalog.unnest(%(oids)s::oid[]) AS r (oid);

-- name: function_definitions
SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::oid, f.oid, 0, 'definition', pg_catalog.pg_get_functiondef(f.oid)
FROM pg_catalog.unnest(%(oids)s::oid[]) AS f (oid);

-- name: read_types
-- Arrays, multiranges and the row types of relations are made by the type or relation that they belong to.
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END,
    'pg_catalog.pg_type'::pg_catalog.regclass::oid, t.oid, 0, NULL::oid, NULL,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
    pg_catalog.pg_get_userbyid(t.typowner) AS "owner",
    (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
     FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS "labels",
    CASE WHEN t.typtype = 'c' THEN COALESCE((
        SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> b.typcollation THEN 'COLLATE ' || a.attcollation::pg_catalog.regcollation END,
            'comment ' || pg_catalog.quote_literal(pg_catalog.col_description(t.typrelid, a.attnum))), ', ' ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type b ON b.oid = a.atttypid
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '') END AS "attributes",
    CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END AS "base type",
    CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation THEN t.typcollation::pg_catalog.regcollation::text END AS "collation",
    CASE WHEN t.typtype = 'd' AND t.typnotnull THEN 'yes' END AS "not null",
    CASE WHEN t.typtype = 'd' THEN COALESCE(pg_catalog.pg_get_expr(t.typdefaultbin, 0), t.typdefault) END AS "default",
    CASE WHEN r.rngtypid IS NOT NULL THEN pg_catalog.concat_ws(', ', 'subtype ' || pg_catalog.format_type(r.rngsubtype, NULL),
        'multirange ' || pg_catalog.format_type(r.rngmultitypid, NULL), 'opclass ' || oc.opcnamespace::pg_catalog.regnamespace || '.' || oc.opcname,
        'collation ' || NULLIF(r.rngcollation, 0)::pg_catalog.regcollation,
        'canonical ' || NULLIF(r.rngcanonical, 0)::oid::pg_catalog.regprocedure, 'difference ' || NULLIF(r.rngsubdiff, 0)::oid::pg_catalog.regprocedure) END AS "range",
    CASE WHEN t.typtype = 'b' THEN pg_catalog.concat_ws(', ', 'input ' || t.typinput, 'output ' || t.typoutput, 'receive ' || t.typreceive,
        'send ' || t.typsend, 'modifiers in ' || t.typmodin, 'modifiers out ' || t.typmodout, 'analyze ' || t.typanalyze,
        'length ' || t.typlen, 'by value ' || t.typbyval, 'align ' || t.typalign::text, 'storage ' || t.typstorage::text, 'category ' || t.typcategory::text,
        'preferred ' || t.typispreferred, 'delimiter ' || t.typdelim::text, 'element ' || NULLIF(t.typelem, 0)::pg_catalog.regtype,
        'collatable ' || (t.typcollation <> 0), 'subscript ' || t.typsubscript, 'default ' || t.typdefault) END AS "base"
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_catalog.pg_opclass oc ON oc.oid = r.rngsubopc
WHERE t.typnamespace = ANY (%(namespaces)s::oid[]) AND t.typtype IN ('b', 'c', 'd', 'e', 'r') AND t.typisdefined
  AND (t.typtype <> 'c' OR c.oid IS NOT NULL)
  AND (%(types)s::oid[] IS NULL OR t.oid = ANY (%(types)s::oid[]))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e');

-- name: read_extensions
-- Its owner is not counted: pg_dump does not keep it.
SELECT 'extension', 'pg_catalog.pg_extension'::pg_catalog.regclass::oid, e.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(e.extname),
    pg_catalog.quote_ident(n.nspname) AS "schema", e.extversion AS "version"
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace;

-- name: read_statistics
SELECT 'statistics object', 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::oid, s.oid, 0, s.stxrelid, s.stxrelid::pg_catalog.regclass::text,
    pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.stxname),
    pg_catalog.pg_get_userbyid(s.stxowner) AS "owner",
    pg_catalog.pg_get_statisticsobjdef(s.oid) AS "definition",
    CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget::text END AS "statistics target"
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
WHERE s.stxnamespace = ANY (%(namespaces)s::oid[]) AND s.stxrelid <> ALL (%(left_out)s::oid[])
  AND (%(relations)s::oid[] IS NULL OR s.stxrelid = ANY (%(relations)s::oid[]));

-- name: read_comments
SELECT d.classoid, d.objoid, d.objsubid, 'comment', d.description
FROM pg_catalog.pg_description d
WHERE (d.objoid >= 16384 OR (d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objoid = ANY (%(namespaces)s::oid[])))
  AND (%(objects)s::oid[] IS NULL OR d.objoid = ANY (%(objects)s::oid[]));

-- name: read_not_null_comments_18
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, con.conrelid, con.conkey[1], 'comment on not null', d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint con ON con.oid = d.objoid
WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND con.contype = 'n' AND con.conrelid <> 0
  AND (%(relations)s::oid[] IS NULL OR con.conrelid = ANY (%(relations)s::oid[]));

-- name: read_security_labels
SELECT l.classoid, l.objoid, l.objsubid, 'security label',
    pg_catalog.string_agg(l.provider || ': ' || l.label, ', ' ORDER BY l.provider)
FROM pg_catalog.pg_seclabel l GROUP BY 1, 2, 3;

-- name: read_grants
-- An ACL that says what no ACL would say (acldefault) is the default: GRANT and REVOKE leave one behind.
WITH acls AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid AS class, c.oid, 0 AS subid, c.relacl AS acl,
           pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner) AS standard
    FROM pg_catalog.pg_class c
    WHERE c.relacl IS NOT NULL AND c.relnamespace = ANY (%(namespaces)s::oid[])
      AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]))
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, a.attrelid, a.attnum, a.attacl, NULL
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND a.attacl <> '{}' AND NOT a.attisdropped AND c.relnamespace = ANY (%(namespaces)s::oid[])
      AND (%(relations)s::oid[] IS NULL OR c.oid = ANY (%(relations)s::oid[]))
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0, p.proacl, pg_catalog.acldefault('f', p.proowner)
    FROM pg_catalog.pg_proc p WHERE p.proacl IS NOT NULL AND p.pronamespace = ANY (%(namespaces)s::oid[])
      AND (%(functions)s::oid[] IS NULL OR p.oid = ANY (%(functions)s::oid[]))
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 0, t.typacl, pg_catalog.acldefault('T', t.typowner)
    FROM pg_catalog.pg_type t WHERE t.typacl IS NOT NULL AND t.typnamespace = ANY (%(namespaces)s::oid[])
      AND (%(types)s::oid[] IS NULL OR t.oid = ANY (%(types)s::oid[]))
    UNION ALL
    SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, n.oid, 0, n.nspacl, pg_catalog.acldefault('n', n.nspowner)
    FROM pg_catalog.pg_namespace n WHERE n.nspacl IS NOT NULL AND n.oid = ANY (%(namespaces)s::oid[])
    UNION ALL
    SELECT 'pg_catalog.pg_language'::pg_catalog.regclass, l.oid, 0, l.lanacl, pg_catalog.acldefault('l', l.lanowner)
    FROM pg_catalog.pg_language l WHERE l.lanacl IS NOT NULL AND l.oid >= 16384
    UNION ALL
    SELECT 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, w.oid, 0, w.fdwacl, pg_catalog.acldefault('F', w.fdwowner)
    FROM pg_catalog.pg_foreign_data_wrapper w WHERE w.fdwacl IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_foreign_server'::pg_catalog.regclass, s.oid, 0, s.srvacl, pg_catalog.acldefault('S', s.srvowner)
    FROM pg_catalog.pg_foreign_server s WHERE s.srvacl IS NOT NULL
)
SELECT class, oid, subid, 'grants',
    COALESCE((SELECT pg_catalog.string_agg(g.line, '; ' ORDER BY g.line COLLATE "C") FROM (
        SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END || ': '
               || pg_catalog.string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY x.privilege_type)
               || ' by ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantor)) AS line
        FROM pg_catalog.aclexplode(acl) x GROUP BY x.grantee, x.grantor) g), 'none')
FROM acls
WHERE standard IS NULL OR NOT (acl @> standard AND standard @> acl);
