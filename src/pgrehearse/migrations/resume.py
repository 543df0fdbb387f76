"""What became of a statement that a killed run had started outside a transaction: the catalog is asked.

Before such a statement runs, `read_facts` notes what the catalog says of its object; after a kill
`settle` compares.  Where the catalog cannot tell, the answer is *unknown*, and a person decides.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pglast.parser
import psycopg
from psycopg import sql

from pgrehearse.errors import RunnerBusy
from pgrehearse.migrations.statements import Statement, TransactionNeed
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

_QUERIES = named_queries(__file__)
POLL_S = 0.2
CONCURRENT_KINDS = frozenset({"IndexStmt", "DropStmt", "ReindexStmt", "AlterTableStmt"})
# Run twice, they do the same as once.
_REPEATABLE_KINDS = frozenset({"VacuumStmt", "ClusterStmt", "DiscardStmt"})


class Outcome(Enum):
    DONE = "done"  # its effect is there
    AGAIN = "again"  # nothing of it is left: run it
    UNKNOWN = "unknown"  # the catalog cannot tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the catalog says, and what was cleaned up to make it say so."""

    outcome: Outcome
    what: str


def read_facts(session: Connection, statement: Statement) -> dict[str, Any]:
    """What the catalog says before the statement runs; JSON-able, at most a few kB.  Read-only.

    ``session`` is the one that will run it, since names resolve by its search_path.
    """
    if statement.need is not TransactionNeed.REFUSES:  # only the server knew: what it does is not ours to guess
        return {}
    tree = _tree(statement)
    match statement.kind:
        case "IndexStmt":
            table = _regclass(session, tree["relation"])
            return {"table": table, "indexes": sorted(_indexes(session, table))}
        case "DropStmt":
            names = [item["String"]["sval"] for item in tree["objects"][0]["List"]["items"]]
            return {"index": _resolve(session, names)}
        case "ReindexStmt":
            return {"invalid": sorted(oid for oid, _, _ in session.execute(_QUERIES["invalid_indexes"]).fetchall())}
        case "AlterTableStmt":
            command = tree["cmds"][0]["AlterTableCmd"]
            return {
                "parent": _regclass(session, tree["relation"]),
                "partition": _regclass(session, command["def"]["PartitionCmd"]["name"]),
            }
    return {}


def settle(
    session: Connection,
    statement: Statement,
    facts: dict[str, Any],
    *,
    wait_s: float,
    end_orphan: bool,
    tell: Callable[[str], None],
) -> Settled:
    """Find out, and remove what a broken attempt left behind, if it is certainly ours.

    An INVALID index that was not there before the attempt is dropped CONCURRENTLY, unless it is still
    being built: then that build is waited for (`RunnerBusy` after ``wait_s``), or ended with ``end_orphan``.
    """
    if statement.kind in _REPEATABLE_KINDS or (statement.kind == "ReindexStmt" and not facts):
        return Settled(outcome=Outcome.AGAIN, what="it may be run twice")
    if not facts:
        return Settled(outcome=Outcome.UNKNOWN, what="nothing in the catalog tells whether it had its effect")
    match statement.kind:
        case "IndexStmt":
            return _settle_index(session, statement, facts, wait_s=wait_s, end_orphan=end_orphan, tell=tell)
        case "DropStmt":
            gone = facts.get("index") is not None and not _relation_exists(session, facts["index"])
            return Settled(outcome=Outcome.DONE if gone else Outcome.AGAIN, what="the index is gone" if gone else "")
        case "ReindexStmt":
            return _settle_reindex(session, facts)
        case "AlterTableStmt":
            return _settle_detach(session, facts)
    return Settled(outcome=Outcome.UNKNOWN, what="nothing in the catalog tells whether it had its effect")


def find_kept_invalid(session: Connection, statement: Statement, facts: dict[str, Any]) -> str | None:
    """The INVALID index that was there before and that ``IF NOT EXISTS`` took for the wanted one."""
    if statement.kind != "IndexStmt" or not facts or "exists" not in statement.text.lower():
        return None
    wanted = _tree(statement).get("idxname")
    kept = (row for oid, row in _indexes(session, facts.get("table")).items() if oid in set(facts["indexes"]))
    return next((name for _, name, valid, _ in kept if wanted and name == _truncated(wanted) and not valid), None)


def _settle_index(
    session: Connection,
    statement: Statement,
    facts: dict[str, Any],
    *,
    wait_s: float,
    end_orphan: bool,
    tell: Callable[[str], None],
) -> Settled:
    table = facts.get("table")
    if table is None:  # the statement failed on the missing table, or will
        return Settled(outcome=Outcome.AGAIN, what="its table was not there")
    if not _relation_exists(session, table):
        return Settled(outcome=Outcome.UNKNOWN, what="its table has been dropped or made anew since then")
    tree = _tree(statement)
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        new = {oid: row for oid, row in _indexes(session, table).items() if oid not in set(facts["indexes"])}
        found = _fitting(new, tree)
        if not found:
            return Settled(outcome=Outcome.AGAIN, what="no such index was made")
        if len(found) > 1:
            names = ", ".join(str(row[1]) for row in found.values())
            return Settled(outcome=Outcome.UNKNOWN, what=f"several new indexes would fit: {names}")
        ((oid, (namespace, name, valid, _keys)),) = found.items()
        if valid:
            return Settled(outcome=Outcome.DONE, what=f"the index {name} is there and valid")
        builder = session.execute(_QUERIES["being_built"], {"table": table, "index": oid}).fetchone()
        if builder is None:
            break
        pid, application = builder
        if end_orphan and (application or "").startswith("pgrehearse:"):
            tell(f"ending pid {pid}, which still builds {name}")
            session.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
        elif not told:
            tell(f"waiting for pid {pid} ({application or 'no application name'}), which still builds {name}")
            told = True
        if time.monotonic() >= deadline:
            raise RunnerBusy(f"pid {pid} ({application or 'no application name'}) still builds the index {name}")
        time.sleep(POLL_S)
    session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(namespace, name)))
    return Settled(outcome=Outcome.AGAIN, what=f"the INVALID index {name} that it left was dropped")


def _fitting(new: dict[int, Any], tree: dict[str, Any]) -> dict[int, Any]:
    """The new indexes that this statement can have made: by name, or unnamed by their key columns."""
    if wanted := tree.get("idxname"):
        return {oid: row for oid, row in new.items() if row[1] == _truncated(wanted)}
    columns = [item["IndexElem"].get("name", "") for item in tree["indexParams"]]
    return {oid: row for oid, row in new.items() if row[3] == columns}


def _settle_reindex(session: Connection, facts: dict[str, Any]) -> Settled:
    """Rebuilding twice is rebuilding once; but what a broken attempt left beside the index must go."""
    before = set(facts.get("invalid", ()))
    dropped = []
    for oid, namespace, name in session.execute(_QUERIES["invalid_indexes"]).fetchall():
        stem = name.rstrip("0123456789")
        if oid not in before and stem.endswith(("_ccnew", "_ccold")):
            try:
                session.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(namespace, name)))
            except psycopg.errors.InsufficientPrivilege:  # a TOAST table's: only a superuser may
                continue
            dropped.append(name)
    return Settled(outcome=Outcome.AGAIN, what=f"dropped {', '.join(dropped)}" if dropped else "it may be run twice")


def _settle_detach(session: Connection, facts: dict[str, Any]) -> Settled:
    parent, partition = facts.get("parent"), facts.get("partition")
    if parent is None or partition is None:
        return Settled(outcome=Outcome.AGAIN, what="")
    if not (_relation_exists(session, parent) and _relation_exists(session, partition)):
        return Settled(outcome=Outcome.UNKNOWN, what="the table or its partition has been dropped since then")
    row = session.execute(_QUERIES["partition"], {"parent": parent, "partition": partition}).fetchone()
    if row is None:
        return Settled(outcome=Outcome.DONE, what="the partition is detached")
    pending, parent_name, partition_name = row
    if not pending:
        return Settled(outcome=Outcome.AGAIN, what="the partition is still attached")
    session.execute(
        sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(
            sql.Identifier(*parent_name), sql.Identifier(*partition_name)
        )
    )
    return Settled(outcome=Outcome.DONE, what="the half-done detaching was finished")


def _tree(statement: Statement) -> dict[str, Any]:
    answer = json.loads(pglast.parser.parse_sql_json(statement.text))
    body: dict[str, Any] = answer["stmts"][0]["stmt"][statement.kind]
    return body


def _regclass(session: Connection, relation: dict[str, Any]) -> int | None:
    names = [relation[key] for key in ("schemaname", "relname") if relation.get(key)]
    return _resolve(session, names)


def _resolve(session: Connection, names: list[str]) -> int | None:
    row = session.execute(_QUERIES["resolve"], (names[-2:],)).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _relation_exists(session: Connection, oid: int) -> bool:
    return session.execute(_QUERIES["exists"], (oid,)).fetchone() is not None


def _indexes(session: Connection, table: int | None) -> dict[int, tuple[str, str, bool, list[str]]]:
    rows = session.execute(_QUERIES["indexes"], (table,)).fetchall()
    return {oid: (namespace, name, valid, keys) for oid, namespace, name, valid, keys in rows}


def _truncated(name: str) -> str:
    """The name as the server keeps it: 63 bytes, never half a character."""
    return name.encode()[:63].decode(errors="ignore")
