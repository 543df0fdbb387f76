-- name: used
-- A draw or a setval holds its lock on the sequence to the transaction's end.
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind = 'S'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = %(pid)s AND l.locktype = 'relation' AND l.granted
  AND l.mode NOT IN ('AccessShareLock', 'SIReadLock')
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());

-- name: sequences
-- Those that this role may read; temporary ones go with their session.  CASE, for the planner asks in any order, and
-- has_sequence_privilege raises for what is no sequence.
SELECT s.name, s.nspname, s.relname, s.seqincrement, s.owner
FROM (
    SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name, n.nspname, c.relname,
           q.seqincrement,
           (SELECT pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.relname)
            FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
            JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
              AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0 LIMIT 1) AS owner,
           CASE c.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT') END AS readable
    FROM pg_catalog.pg_sequence q
    JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid AND c.relpersistence <> 't'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pgrehearse', 'pgrehearse_quarantine')
) s
WHERE (%(names)s::text[] IS NULL OR s.name = ANY (%(names)s::text[]))
  AND s.readable
ORDER BY 1;
