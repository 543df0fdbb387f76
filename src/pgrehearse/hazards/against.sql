-- name: session
-- `search_path` without what is always there: where a name without a schema leads for this very role.
SELECT pg_catalog.current_setting('server_version_num')::int / 10000,
       pg_catalog.current_setting('TimeZone'),
       pg_catalog.current_schemas(false)::text[];

-- name: namespaces
SELECT n.nspname
  FROM pg_catalog.pg_namespace n
 WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema';

-- name: roles
SELECT r.rolname FROM pg_catalog.pg_roles r;

-- name: sequence_default_privileges
-- Whether a sequence that this role makes is usable by some other role at once.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) a
     WHERE d.defaclobjtype = 'S' AND d.defaclrole = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER)
       AND a.grantee <> d.defaclrole AND a.privilege_type = 'USAGE');

-- name: relations
-- Temporary ones of other sessions are left out: no migration can reach them.
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint, c.relpersistence::text, c.relrowsecurity,
       am.amname, t.spcname, pg_catalog.pg_get_expr(c.relpartbound, c.oid),
       CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END,
       p.partdefid IS NOT NULL AND p.partdefid <> 0,
       ARRAY(SELECT y.polname::text FROM pg_catalog.pg_policy y WHERE y.polrelid = c.oid),
       -- Uncorrelated, so that the server hashes them: looked up for each table they take minutes.
       c.reltype <> 0 AND (
           c.reltype IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE NOT a.attisdropped)
           OR ty.typarray IN (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE NOT a.attisdropped)),
       pg_catalog.pg_get_userbyid(c.relowner), c.relreplident::text, ofn.nspname, oft.typname
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_type ty ON ty.oid = c.reltype
  LEFT JOIN pg_catalog.pg_type oft ON oft.oid = c.reloftype AND c.reloftype <> 0
  LEFT JOIN pg_catalog.pg_namespace ofn ON ofn.oid = oft.typnamespace
  LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
  LEFT JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
   AND (c.relpersistence <> 't' OR n.oid = pg_catalog.pg_my_temp_schema());

-- name: sizes
-- Asks the file system, under ACCESS SHARE on each: waits behind a running ALTER TABLE.
SELECT c.oid, pg_catalog.pg_total_relation_size(c.oid), pg_catalog.pg_relation_size(c.oid)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
   AND (c.relpersistence <> 't' OR n.oid = pg_catalog.pg_my_temp_schema());

-- name: columns
-- pg_stats shows an ordinary role only what it may read; its null fraction is an estimate.
SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), e.typname, en.nspname,
       t.typelem <> 0 AND t.typcategory = 'A', a.attnotnull, a.atthasdef, a.attidentity::text, a.attgenerated::text,
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END, s.null_frac
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_type e ON e.oid = CASE WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN t.typelem ELSE t.oid END
  JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_stats s
    ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
 ORDER BY a.attrelid, a.attnum;

-- name: default_calls
-- Functions that a default calls, and the sequences that it names; PostgreSQL's own are pinned, and not listed.
SELECT ad.adrelid, a.attname, COALESCE(pn.nspname, sn.nspname), COALESCE(p.proname, s.relname)
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_attrdef ad ON ad.oid = d.objid
  JOIN pg_catalog.pg_attribute a ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
  LEFT JOIN pg_catalog.pg_proc p ON d.refclassid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.refobjid
  LEFT JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
  LEFT JOIN pg_catalog.pg_class s
    ON d.refclassid = 'pg_catalog.pg_class'::regclass AND s.oid = d.refobjid AND s.relkind = 'S'
  LEFT JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
 WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND COALESCE(p.oid, s.oid) IS NOT NULL;

-- name: constraints
-- Of tables and of domains.  `conenforced` came with 18; asked through to_jsonb, so that older servers have no such key.
SELECT k.conrelid, k.contypid, k.conname, k.contype::text,
       ARRAY(SELECT a.attname FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.place),
       k.convalidated, COALESCE((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true), k.confrelid,
       ARRAY(SELECT a.attname FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.place),
       k.confdeltype::text, k.confupdtype::text, k.condeferrable, k.condeferred, i.relname,
       pg_catalog.pg_get_constraintdef(k.oid), k.conparentid <> 0
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
  LEFT JOIN pg_catalog.pg_class i ON i.oid = k.conindid AND k.contype IN ('p', 'u', 'x')
 WHERE k.contype IN ('c', 'f', 'p', 'u', 'x', 'n') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
 ORDER BY k.conrelid, k.conname;

-- name: indexes
SELECT x.indrelid, n.nspname, c.relname,
       ARRAY(SELECT a.attname FROM pg_catalog.unnest(x.indkey::int2[]) WITH ORDINALITY u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.attnum AND u.attnum > 0
              ORDER BY u.place),
       ARRAY(SELECT a.attname FROM pg_catalog.unnest(x.indkey::int2[]) WITH ORDINALITY u (attnum, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.attnum AND u.attnum > 0
              WHERE u.place <= x.indnkeyatts ORDER BY u.place),
       pg_catalog.pg_get_expr(x.indexprs, x.indrelid), pg_catalog.pg_get_expr(x.indpred, x.indrelid),
       x.indisunique, x.indisprimary, x.indisvalid, k.conname, am.amname
  FROM pg_catalog.pg_index x
  JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_am am ON am.oid = c.relam
  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x')
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast');

-- name: triggers
-- tgtype's bits: 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE (catalog/pg_trigger.h).
SELECT t.tgrelid, t.tgname, fn.nspname, f.proname, t.tgtype::int, t.tgconstraint <> 0, t.tginitdeferred,
       t.tgenabled <> 'D'
  FROM pg_catalog.pg_trigger t
  JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
  JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
 WHERE NOT t.tgisinternal;

-- name: rules
SELECT r.ev_class, r.rulename,
       CASE r.ev_type WHEN '1' THEN 'select' WHEN '2' THEN 'update' WHEN '3' THEN 'insert' ELSE 'delete' END
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE r.rulename <> '_RETURN' AND n.nspname NOT IN ('pg_catalog', 'information_schema');

-- name: inheritance
SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i;

-- name: view_uses
-- What the _RETURN rules of views name: relations (with the column, or 0) and functions.
SELECT r.ev_class, d.refclassid = 'pg_catalog.pg_class'::regclass, d.refobjid, a.attname, pn.nspname, p.proname
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN'
  LEFT JOIN pg_catalog.pg_attribute a
    ON d.refclassid = 'pg_catalog.pg_class'::regclass AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
       AND d.refobjsubid > 0
  LEFT JOIN pg_catalog.pg_proc p ON d.refclassid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.refobjid
  LEFT JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace
 WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.deptype = 'n'
   AND d.refclassid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass);

-- name: sequence_owners
SELECT d.objid, d.refobjid, a.attname
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
 WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
   AND d.deptype IN ('a', 'i');

-- name: statistics
SELECT n.nspname, s.stxname, s.stxrelid
  FROM pg_catalog.pg_statistic_ext s
  JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace;

-- name: types
-- Composite types that are a table's rows are left out.
SELECT t.oid, n.nspname, t.typname, t.typtype::text, t.typnotnull, pg_catalog.format_type(t.typbasetype, t.typtypmod),
       b.oid, b.typname, bn.nspname, b.typelem <> 0 AND b.typcategory = 'A', be.typname, ben.nspname,
       ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
  LEFT JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
  LEFT JOIN pg_catalog.pg_type be ON be.oid = b.typelem
  LEFT JOIN pg_catalog.pg_namespace ben ON ben.oid = be.typnamespace
 WHERE t.typtype IN ('e', 'd', 'r', 'c') AND (c.oid IS NULL OR c.relkind = 'c')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast');

-- name: type_names
-- Of all schemas, PostgreSQL's own and extensions' too: a name that is nowhere here leads to no type.
SELECT DISTINCT t.typname FROM pg_catalog.pg_type t;

-- name: available_extensions
SELECT e.name FROM pg_catalog.pg_available_extensions e;

-- name: published
-- Whose UPDATEs, and whose DELETEs, a publication sends.
SELECT t.schemaname, t.tablename, pg_catalog.bool_or(p.pubupdate), pg_catalog.bool_or(p.pubdelete)
  FROM pg_catalog.pg_publication_tables t
  JOIN pg_catalog.pg_publication p ON p.pubname = t.pubname
 GROUP BY t.schemaname, t.tablename;

-- name: functions
-- A body BEGIN ATOMIC is a tree, not a text: it shows in the definition alone.
SELECT n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid), p.prokind::text, l.lanname,
       p.provolatile::text,
       CASE WHEN l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL THEN p.prosrc END,
       CASE WHEN l.lanname IN ('sql', 'plpgsql') AND p.prokind IN ('f', 'p') THEN pg_catalog.pg_get_functiondef(p.oid) END,
       p.prorettype = 'pg_catalog.trigger'::regtype
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema');

-- name: builtin_functions
-- Of this very server: what is younger than it is missing.
SELECT DISTINCT p.proname FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace;

-- name: may_be_counted
-- Row security would hide rows from this role: a table that looks empty to it need not be.
SELECT c.oid
  FROM pg_catalog.pg_class c
 WHERE c.oid = ANY (%s) AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
   AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE') AND NOT pg_catalog.row_security_active(c.oid);
