"""Foreign keys that the catalog calls valid and the rows break.

A file that sets ``session_replication_role`` or disables triggers can leave children without parents; nothing in
the catalog shows it, and a later dump of that database cannot be restored.
"""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from pgrehearse.hazards.finding import Level
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.judge import LostGuarantee

# A foreign key of a partitioned table stands at its root.  A temporal one (18) compares ranges: left out.
FOREIGN_KEYS = """
SELECT pg_catalog.quote_ident(con.conname), cn.nspname, c.relname, pn.nspname, p.relname,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(con.conkey) WITH ORDINALITY k(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(con.confkey) WITH ORDINALITY k(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT pg_catalog.format('OPERATOR(%%I.%%s)', o.oprnamespace::pg_catalog.regnamespace::name, o.oprname)
             FROM pg_catalog.unnest(con.conpfeqop) WITH ORDINALITY k(oid, place)
             JOIN pg_catalog.pg_operator o ON o.oid = k.oid ORDER BY k.place)
FROM pg_catalog.pg_constraint con
JOIN pg_catalog.pg_class c ON c.oid = con.conrelid
JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_catalog.pg_class p ON p.oid = con.confrelid
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
WHERE con.contype = 'f' AND con.convalidated AND con.conparentid = 0
  AND COALESCE((pg_catalog.to_jsonb(con) ->> 'conperiod')::boolean, false) IS FALSE
  AND EXISTS (
      SELECT FROM pg_catalog.unnest(%(changed)s::text[]) AS t (name)
      CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(t.name)::oid AS oid) AS r
      WHERE r.oid IN (con.conrelid, con.confrelid)
         OR pg_catalog.pg_partition_root(r.oid)::oid IN (con.conrelid, con.confrelid))
ORDER BY cn.nspname COLLATE "C", c.relname COLLATE "C", con.conname COLLATE "C"
"""
ORPHANS = """
SELECT pg_catalog.count(*) FROM {child} AS c
WHERE {present} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {equal})
"""


def find_broken_references(session: Connection, changed: Sequence[str]) -> Iterator[LostGuarantee]:
    """Foreign keys from or to one of the ``changed`` tables (``namespace.relation``) that rows break.

    One anti-join for each.  ``session`` has been through `prepare_session`.  What this role may not read is passed
    over: the comparison of data says so already.
    """
    for name, *tables, columns, referenced, operators in session.execute(FOREIGN_KEYS, {"changed": list(changed)}):
        child, parent = sql.Identifier(*tables[:2]), sql.Identifier(*tables[2:])
        pairs = list(zip(columns, referenced, operators, strict=True))
        query = sql.SQL(ORPHANS).format(
            child=child,
            parent=parent,
            present=sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(ours)) for ours in columns),
            equal=sql.SQL(" AND ").join(
                sql.SQL("p.{} {} c.{}").format(sql.Identifier(theirs), sql.SQL(operator), sql.Identifier(ours))
                for ours, theirs, operator in pairs
            ),
        )
        try:
            row = session.execute(query).fetchone()
        except psycopg.errors.InsufficientPrivilege:
            continue
        orphans = row[0] if row is not None else 0
        if orphans:
            told = child.as_string(session)
            yield LostGuarantee(
                relation=told,
                what=f"{orphans:,} rows of {told} have no parent in {parent.as_string(session)}, though foreign key "
                f"{name} is called valid: they were written while its triggers did not run",
                hazard="broken-foreign-key",
                level=Level.ERROR,
                remedy="Leave session_replication_role and DISABLE TRIGGER away, or mend these rows in the same file.",
            )
