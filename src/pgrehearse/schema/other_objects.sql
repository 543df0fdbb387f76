-- Kinds that are rare; the same columns as in snapshot.sql.

-- name: read_default_privileges
SELECT 'default privileges', 'pg_catalog.pg_default_acl'::pg_catalog.regclass::oid, d.oid, 0, NULL::oid, NULL,
    'of ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(d.defaclrole)) || ' on '
        || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
                                WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' ELSE d.defaclobjtype::text END
        || COALESCE(' in schema ' || pg_catalog.quote_ident(n.nspname), ''),
    COALESCE((SELECT pg_catalog.string_agg(g.line, '; ' ORDER BY g.line COLLATE "C") FROM (
        SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END || ': '
               || pg_catalog.string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY x.privilege_type)
               || ' by ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantor)) AS line
        FROM pg_catalog.aclexplode(d.defaclacl) x GROUP BY x.grantee, x.grantor) g), 'none') AS "grants"
FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace;

-- name: read_system_grants
-- Rights changed after initdb on the server's own objects, or after CREATE EXTENSION on its members; pg_dump carries them over.
SELECT 'system object', s.class, s.oid, 0, NULL::oid, NULL, s.name,
    COALESCE((SELECT pg_catalog.string_agg(i::text, ', ' ORDER BY i::text COLLATE "C") FROM pg_catalog.unnest(s.acl) i), 'none') AS "grants"
FROM (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid AS class, c.oid,
           c.relnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(c.relname) AS name,
           COALESCE(c.relacl, d.standard) AS acl, d.standard
    FROM pg_catalog.pg_class c
    CROSS JOIN LATERAL pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner) AS d (standard)
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND ((c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.oid < 16384)
           OR EXISTS (SELECT FROM pg_catalog.pg_depend e
                      WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid AND e.deptype = 'e'))
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.oid::pg_catalog.regprocedure::text,
           COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner)), pg_catalog.acldefault('f', p.proowner)
    FROM pg_catalog.pg_proc p
    WHERE (p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.proacl IS NOT NULL AND p.oid < 16384)
       OR EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid AND e.deptype = 'e')
) s
LEFT JOIN pg_catalog.pg_init_privs i ON i.classoid = s.class AND i.objoid = s.oid AND i.objsubid = 0
WHERE NOT (s.acl @> COALESCE(i.initprivs, s.standard) AND COALESCE(i.initprivs, s.standard) @> s.acl);

-- name: read_event_triggers
SELECT 'event trigger', 'pg_catalog.pg_event_trigger'::pg_catalog.regclass::oid, e.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(e.evtname),
    pg_catalog.pg_get_userbyid(e.evtowner) AS "owner", e.evtevent AS "event",
    (SELECT pg_catalog.string_agg(t, ', ' ORDER BY t COLLATE "C") FROM pg_catalog.unnest(e.evttags) t) AS "tags",
    e.evtfoid::pg_catalog.regprocedure::text AS "function",
    CASE e.evtenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END AS "enabled"
FROM pg_catalog.pg_event_trigger e;

-- name: read_publications
-- pubgencols since 18, read by name because older catalogs lack it.
SELECT 'publication', 'pg_catalog.pg_publication'::pg_catalog.regclass::oid, p.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(p.pubname),
    pg_catalog.pg_get_userbyid(p.pubowner) AS "owner",
    CASE WHEN p.puballtables THEN 'yes' END AS "all tables",
    pg_catalog.concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
        CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END) AS "publish",
    CASE WHEN p.pubviaroot THEN 'yes' END AS "via partition root",
    NULLIF(pg_catalog.to_jsonb(p) ->> 'pubgencols', 'n') AS "generated columns"
FROM pg_catalog.pg_publication p;

-- name: read_publication_tables_14
SELECT 'pg_catalog.pg_publication'::pg_catalog.regclass::oid, r.prpubid, 0, 'tables',
    pg_catalog.string_agg(r.prrelid::pg_catalog.regclass::text, '; ' ORDER BY r.prrelid::pg_catalog.regclass::text COLLATE "C")
FROM pg_catalog.pg_publication_rel r GROUP BY r.prpubid;

-- name: read_publication_tables_15
-- Column lists, row filters and whole schemas came with 15.
SELECT 'publication relation', 'pg_catalog.pg_publication_rel'::pg_catalog.regclass::oid, r.oid, 0, r.prrelid, r.prrelid::pg_catalog.regclass::text,
    pg_catalog.quote_ident(p.pubname),
    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) AS "columns",
    pg_catalog.pg_get_expr(r.prqual, r.prrelid) AS "where"
FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
WHERE (%(relations)s::oid[] IS NULL OR r.prrelid = ANY (%(relations)s::oid[]));

-- name: read_publication_schemas_15
SELECT 'pg_catalog.pg_publication'::pg_catalog.regclass::oid, s.pnpubid, 0, 'schemas',
    pg_catalog.string_agg(pg_catalog.quote_ident(n.nspname), ', ' ORDER BY n.nspname COLLATE "C")
FROM pg_catalog.pg_publication_namespace s JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid GROUP BY s.pnpubid;

-- name: read_foreign_data_wrappers
-- Options of wrappers and servers are addresses and secrets of one environment.
SELECT 'foreign-data wrapper', 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass::oid, w.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(w.fdwname),
    pg_catalog.pg_get_userbyid(w.fdwowner) AS "owner",
    NULLIF(w.fdwhandler, 0)::pg_catalog.regprocedure::text AS "handler", NULLIF(w.fdwvalidator, 0)::pg_catalog.regprocedure::text AS "validator"
FROM pg_catalog.pg_foreign_data_wrapper w;

-- name: read_foreign_servers
SELECT 'server', 'pg_catalog.pg_foreign_server'::pg_catalog.regclass::oid, s.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(s.srvname),
    pg_catalog.pg_get_userbyid(s.srvowner) AS "owner", w.fdwname AS "wrapper", s.srvtype AS "type", s.srvversion AS "version"
FROM pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw;

-- name: read_casts
SELECT 'cast', 'pg_catalog.pg_cast'::pg_catalog.regclass::oid, c.oid, 0, NULL::oid, NULL,
    '(' || pg_catalog.format_type(c.castsource, NULL) || ' AS ' || pg_catalog.format_type(c.casttarget, NULL) || ')',
    NULLIF(c.castfunc, 0)::pg_catalog.regprocedure::text AS "function",
    CASE c.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'assignment' ELSE 'explicit' END AS "context",
    CASE c.castmethod WHEN 'i' THEN 'inout' WHEN 'b' THEN 'binary' ELSE 'function' END AS "method"
FROM pg_catalog.pg_cast c WHERE c.oid >= 16384;

-- name: read_operators
SELECT 'operator', 'pg_catalog.pg_operator'::pg_catalog.regclass::oid, o.oid, 0, NULL::oid, NULL, o.oid::pg_catalog.regoperator::text,
    pg_catalog.pg_get_userbyid(o.oprowner) AS "owner", NULLIF(o.oprcode, 0)::oid::pg_catalog.regprocedure::text AS "function",
    NULLIF(o.oprcom, 0)::pg_catalog.regoperator::text AS "commutator", NULLIF(o.oprnegate, 0)::pg_catalog.regoperator::text AS "negator",
    NULLIF(o.oprrest, 0)::oid::pg_catalog.regprocedure::text AS "restrict", NULLIF(o.oprjoin, 0)::oid::pg_catalog.regprocedure::text AS "join",
    CASE WHEN o.oprcanhash THEN 'yes' END AS "hashes", CASE WHEN o.oprcanmerge THEN 'yes' END AS "merges"
FROM pg_catalog.pg_operator o WHERE o.oprnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_operator_families
SELECT 'operator family', 'pg_catalog.pg_opfamily'::pg_catalog.regclass::oid, f.oid, 0, NULL::oid, NULL,
    f.opfnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(f.opfname) || ' USING ' || am.amname,
    pg_catalog.pg_get_userbyid(f.opfowner) AS "owner",
    (SELECT pg_catalog.string_agg(line, ', ' ORDER BY line COLLATE "C") FROM (
        SELECT pg_catalog.concat_ws(' ', 'operator', o.amopstrategy, o.amopopr::pg_catalog.regoperator, o.amoppurpose,
                                    (SELECT s.opfname FROM pg_catalog.pg_opfamily s WHERE s.oid = o.amopsortfamily)) AS line
        FROM pg_catalog.pg_amop o WHERE o.amopfamily = f.oid
        UNION ALL
        SELECT pg_catalog.concat_ws(' ', 'function', p.amprocnum, p.amproclefttype::pg_catalog.regtype, p.amprocrighttype::pg_catalog.regtype,
                                    p.amproc::oid::pg_catalog.regprocedure)
        FROM pg_catalog.pg_amproc p WHERE p.amprocfamily = f.oid) lines) AS "members"
FROM pg_catalog.pg_opfamily f JOIN pg_catalog.pg_am am ON am.oid = f.opfmethod WHERE f.opfnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_operator_classes
SELECT 'operator class', 'pg_catalog.pg_opclass'::pg_catalog.regclass::oid, c.oid, 0, NULL::oid, NULL,
    c.opcnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(c.opcname) || ' USING ' || am.amname,
    pg_catalog.pg_get_userbyid(c.opcowner) AS "owner",
    pg_catalog.format_type(c.opcintype, NULL) AS "type", CASE WHEN c.opcdefault THEN 'yes' END AS "default operator class",
    f.opfnamespace::pg_catalog.regnamespace || '.' || f.opfname AS "family",
    CASE WHEN c.opckeytype <> 0 THEN pg_catalog.format_type(c.opckeytype, NULL) END AS "storage"
FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am am ON am.oid = c.opcmethod JOIN pg_catalog.pg_opfamily f ON f.oid = c.opcfamily
WHERE c.opcnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_collations
-- The locale's column was called otherwise in 15 and 16; the recorded version is the library's, not the schema's.
SELECT 'collation', 'pg_catalog.pg_collation'::pg_catalog.regclass::oid, c.oid, 0, NULL::oid, NULL,
    c.collnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(c.collname),
    pg_catalog.pg_get_userbyid(c.collowner) AS "owner", c.collprovider::text AS "provider",
    CASE WHEN NOT c.collisdeterministic THEN 'no' END AS "deterministic", c.collencoding::text AS "encoding",
    pg_catalog.concat_ws(', ', c.collcollate, c.collctype, pg_catalog.to_jsonb(c) ->> 'colliculocale', pg_catalog.to_jsonb(c) ->> 'colllocale') AS "locale",
    pg_catalog.to_jsonb(c) ->> 'collicurules' AS "rules"
FROM pg_catalog.pg_collation c WHERE c.collnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_conversions
SELECT 'conversion', 'pg_catalog.pg_conversion'::pg_catalog.regclass::oid, c.oid, 0, NULL::oid, NULL,
    c.connamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(c.conname),
    pg_catalog.pg_get_userbyid(c.conowner) AS "owner",
    pg_catalog.concat_ws(' ', pg_catalog.pg_encoding_to_char(c.conforencoding), pg_catalog.pg_encoding_to_char(c.contoencoding),
                         c.conproc::oid::pg_catalog.regprocedure, c.condefault) AS "definition"
FROM pg_catalog.pg_conversion c WHERE c.connamespace = ANY (%(namespaces)s::oid[]);

-- name: read_text_search_configurations
SELECT 'text search configuration', 'pg_catalog.pg_ts_config'::pg_catalog.regclass::oid, c.oid, 0, NULL::oid, NULL,
    c.cfgnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(c.cfgname),
    pg_catalog.pg_get_userbyid(c.cfgowner) AS "owner", p.prsnamespace::pg_catalog.regnamespace || '.' || p.prsname AS "parser",
    (SELECT pg_catalog.string_agg(m.maptokentype || ': ' || m.mapdict::pg_catalog.regdictionary, ', ' ORDER BY m.maptokentype, m.mapseqno)
     FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = c.oid) AS "mappings"
FROM pg_catalog.pg_ts_config c JOIN pg_catalog.pg_ts_parser p ON p.oid = c.cfgparser WHERE c.cfgnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_text_search_dictionaries
SELECT 'text search dictionary', 'pg_catalog.pg_ts_dict'::pg_catalog.regclass::oid, d.oid, 0, NULL::oid, NULL,
    d.dictnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(d.dictname),
    pg_catalog.pg_get_userbyid(d.dictowner) AS "owner", t.tmplnamespace::pg_catalog.regnamespace || '.' || t.tmplname AS "template",
    d.dictinitoption AS "options"
FROM pg_catalog.pg_ts_dict d JOIN pg_catalog.pg_ts_template t ON t.oid = d.dicttemplate WHERE d.dictnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_text_search_parsers
SELECT 'text search parser', 'pg_catalog.pg_ts_parser'::pg_catalog.regclass::oid, p.oid, 0, NULL::oid, NULL,
    p.prsnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(p.prsname),
    pg_catalog.concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype) AS "functions"
FROM pg_catalog.pg_ts_parser p WHERE p.prsnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_text_search_templates
SELECT 'text search template', 'pg_catalog.pg_ts_template'::pg_catalog.regclass::oid, t.oid, 0, NULL::oid, NULL,
    t.tmplnamespace::pg_catalog.regnamespace || '.' || pg_catalog.quote_ident(t.tmplname),
    pg_catalog.concat_ws(' ', t.tmplinit, t.tmpllexize) AS "functions"
FROM pg_catalog.pg_ts_template t WHERE t.tmplnamespace = ANY (%(namespaces)s::oid[]);

-- name: read_languages
SELECT 'language', 'pg_catalog.pg_language'::pg_catalog.regclass::oid, l.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(l.lanname),
    pg_catalog.pg_get_userbyid(l.lanowner) AS "owner", CASE WHEN l.lanpltrusted THEN 'yes' END AS "trusted",
    pg_catalog.concat_ws(' ', NULLIF(l.lanplcallfoid, 0)::pg_catalog.regprocedure, NULLIF(l.laninline, 0)::pg_catalog.regprocedure,
                         NULLIF(l.lanvalidator, 0)::pg_catalog.regprocedure) AS "functions"
FROM pg_catalog.pg_language l WHERE l.oid >= 16384;

-- name: read_transforms
SELECT 'transform', 'pg_catalog.pg_transform'::pg_catalog.regclass::oid, t.oid, 0, NULL::oid, NULL,
    'for ' || pg_catalog.format_type(t.trftype, NULL) || ' language ' || l.lanname,
    pg_catalog.concat_ws(' ', NULLIF(t.trffromsql, 0)::oid::pg_catalog.regprocedure, NULLIF(t.trftosql, 0)::oid::pg_catalog.regprocedure) AS "functions"
FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang;

-- name: read_access_methods
SELECT 'access method', 'pg_catalog.pg_am'::pg_catalog.regclass::oid, a.oid, 0, NULL::oid, NULL, pg_catalog.quote_ident(a.amname),
    a.amtype::text AS "type", a.amhandler::oid::pg_catalog.regprocedure::text AS "handler"
FROM pg_catalog.pg_am a WHERE a.oid >= 16384;
