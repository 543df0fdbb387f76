-- name: functions
-- Those that have a text, an extension's too.  The last: whether nothing needs to name it for it to run.
SELECT p.proname::pg_catalog.text, l.lanname::pg_catalog.text,
       CASE WHEN l.lanname = 'sql' THEN COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) ELSE p.prosrc END,
       EXISTS (SELECT FROM pg_catalog.pg_event_trigger t WHERE t.evtfoid = p.oid)
       OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                  LEFT JOIN pg_catalog.pg_constraint k
                         ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid
                  WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid = p.oid
                    AND (d.classid IN ('pg_catalog.pg_operator'::pg_catalog.regclass,
                                       'pg_catalog.pg_cast'::pg_catalog.regclass,
                                       'pg_catalog.pg_type'::pg_catalog.regclass,
                                       'pg_catalog.pg_amproc'::pg_catalog.regclass,
                                       'pg_catalog.pg_opclass'::pg_catalog.regclass)
                         OR (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                             AND EXISTS (SELECT FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid = d.objid))
                         OR k.contypid <> 0))
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prokind IN ('f', 'p') AND l.lanname NOT IN ('internal', 'c');

-- name: relations
-- What runs where a relation is read or written (a view's query, triggers with their conditions, partitions and their
-- keys, what cascades), and whether it also runs where the relation is written anew (defaults, checks, indexes, extended
-- statistics); by the names of relations, and of functions as they are called.
WITH leads(relation, class, object, rewritten) AS (
    SELECT t.tgrelid, 'pg_catalog.pg_proc'::pg_catalog.regclass, t.tgfoid, false
    FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal OR t.tgparentid <> 0  -- a partition's own, on 14
    UNION ALL
    SELECT COALESCE(a.adrelid, k.conrelid, p.polrelid, r.ev_class, i.indrelid, s.stxrelid, t.tgrelid, y.partrelid),
           d.refclassid, d.refobjid, COALESCE(a.adrelid, k.conrelid, i.indrelid, s.stxrelid) IS NOT NULL
    FROM pg_catalog.pg_depend d
    LEFT JOIN pg_catalog.pg_attrdef a ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = d.objid
    LEFT JOIN pg_catalog.pg_constraint k
           ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid AND k.conrelid <> 0
    LEFT JOIN pg_catalog.pg_policy p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid
    LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
    LEFT JOIN pg_catalog.pg_index i
           ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = d.objid
    LEFT JOIN pg_catalog.pg_statistic_ext s
           ON d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass AND s.oid = d.objid
    LEFT JOIN pg_catalog.pg_trigger t ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = d.objid
    LEFT JOIN pg_catalog.pg_partitioned_table y
           ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND y.partrelid = d.objid
    WHERE d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass)
      AND d.refobjid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT h.inhparent, 'pg_catalog.pg_class'::pg_catalog.regclass, h.inhrelid, false
    FROM pg_catalog.pg_inherits h
    UNION ALL SELECT k.confrelid, 'pg_catalog.pg_class'::pg_catalog.regclass, k.conrelid, false
    FROM pg_catalog.pg_constraint k
    WHERE k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
)
SELECT c.relname::pg_catalog.text, leads.rewritten,
       pg_catalog.array_agg(DISTINCT COALESCE(f.proname || '(', o.relname::pg_catalog.text))
FROM leads
JOIN pg_catalog.pg_class c ON c.oid = leads.relation
LEFT JOIN pg_catalog.pg_proc f ON leads.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid = leads.object
LEFT JOIN pg_catalog.pg_class o
       ON leads.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.oid = leads.object AND o.oid <> leads.relation
WHERE f.oid IS NOT NULL OR o.oid IS NOT NULL
GROUP BY c.oid, c.relname, leads.rewritten;

-- name: foreign_tables
-- Of these wrappers' handlers, by oid.
SELECT c.relname::pg_catalog.text
FROM pg_catalog.pg_foreign_table t JOIN pg_catalog.pg_class c ON c.oid = t.ftrelid
JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
WHERE w.fdwhandler::pg_catalog.oid::pg_catalog.int8 = ANY (%s::pg_catalog.int8[]);
