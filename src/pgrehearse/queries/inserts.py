"""INSERTs that do not send what a column must have now: planning never looks at that, and nothing is written here."""

from collections.abc import Iterator, Sequence

from pglast.stream import maybe_double_quote_name

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.queries.statement_text import Tree, find_nodes

QUERIES = named_queries(__file__)


def find_unsent(before: Connection, after: Connection, kind: str, tree: Tree) -> tuple[str, ...]:
    """Columns that an INSERT leaves out and that are NOT NULL without a default only now.

    ``kind`` and ``tree`` are a statement's; its INSERTs may stand in WITH or be a MERGE's.  Two catalog queries for
    each.  Empty where a trigger may fill them, for a view, and where an ``INSERT … SELECT`` names no columns.
    """
    found = [name for target, insert in _inserts({kind: tree}) for name in _unsent(before, after, target, insert)]
    return tuple(dict.fromkeys(found))


def _inserts(statement: Tree) -> Iterator[tuple[Tree, Tree]]:
    """Each with the relation that it writes to."""
    for insert in find_nodes(statement, "InsertStmt"):
        yield insert.get("relation", {}), insert
    for merge in find_nodes(statement, "MergeStmt"):
        for clause in find_nodes(merge.get("mergeWhenClauses", []), "MergeWhenClause"):
            if clause.get("commandType") == "CMD_INSERT":
                yield merge.get("relation", {}), _as_insert(clause)


def _as_insert(clause: Tree) -> Tree:
    """A MERGE's INSERT, written as one of its own."""
    if "values" not in clause:
        return {}
    if "targetList" in clause:
        return {"cols": clause["targetList"]}
    return {"selectStmt": {"SelectStmt": {"valuesLists": [{"List": {"items": clause["values"]}}]}}}


def _unsent(before: Connection, after: Connection, target: Tree, insert: Tree) -> tuple[str, ...]:
    parts = [target[part] for part in ("schemaname", "relname") if part in target]
    written = ".".join(maybe_double_quote_name(part) for part in parts)
    there, here = _read_columns(before, written), _read_columns(after, written)
    sent = _sent(insert, [name for name, _ in here])
    if sent is None:
        return ()
    needed_before = {name for name, needed in there if needed}
    return tuple(name for name, needed in here if needed and name not in needed_before and name not in sent)


def _read_columns(session: Connection, written: str) -> list[tuple[str, bool]]:
    return [(row[0], row[1]) for row in session.execute(QUERIES["columns"], (written,))]


def _sent(tree: Tree, columns: Sequence[str]) -> set[str] | None:
    """The columns that get a value; None where only the server could count them."""
    if "cols" in tree:
        return {each["ResTarget"]["name"] for each in tree["cols"]}
    if "selectStmt" not in tree:
        return set()  # DEFAULT VALUES
    rows = tree["selectStmt"].get("SelectStmt", {}).get("valuesLists")
    return None if not rows else set(columns[: len(rows[0]["List"]["items"])])
