-- name: promises
-- Every unique or exclusion promise that the table keeps now, but its primary key's own columns alone: name of the index,
-- the constraint's, or null; its predicate; whether NULLs are alike; and by column the expression, the operator, the
-- collation, and the numbers of the columns that the whole of it reads (through pg_depend, for expressions too).
-- Through jsonb, since indnullsnotdistinct is new in 15.
SELECT c.relname::text, con.conname::text, pg_catalog.pg_get_expr(i.indpred, i.indrelid, true),
       COALESCE((pg_catalog.to_jsonb(i)->>'indnullsnotdistinct')::pg_catalog.bool, false),
       ARRAY(
           SELECT pg_catalog.jsonb_build_array(
               pg_catalog.pg_get_indexdef(i.indexrelid, k.position::pg_catalog.int4, true),
               (SELECT pg_catalog.format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
                FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
                WHERE o.oid = COALESCE(con.conexclop[k.position],
                    (SELECT a.amopopr FROM pg_catalog.pg_opclass f
                     JOIN pg_catalog.pg_amop a ON a.amopfamily = f.opcfamily AND a.amoplefttype = f.opcintype
                         AND a.amoprighttype = f.opcintype AND a.amopstrategy = 3
                     WHERE f.oid = i.indclass[k.position - 1]))),
               (SELECT pg_catalog.format('%%I.%%I', n.nspname, o.collname)
                FROM pg_catalog.pg_collation o JOIN pg_catalog.pg_namespace n ON n.oid = o.collnamespace
                WHERE o.oid = i.indcollation[k.position - 1]))
           FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k (position) ORDER BY k.position),
       ARRAY(
           SELECT DISTINCT u.number::pg_catalog.int4
           FROM (SELECT pg_catalog.unnest(i.indkey::pg_catalog.int2[]) AS number
                 UNION ALL
                 SELECT d.refobjsubid FROM pg_catalog.pg_depend d
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
                   AND d.refclassid = d.classid AND d.refobjid = i.indrelid) u
           WHERE u.number <> 0)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %(oid)s::pg_catalog.int8::pg_catalog.oid AND i.indislive
  AND (i.indisunique OR con.contype = 'x')
ORDER BY c.relname;
