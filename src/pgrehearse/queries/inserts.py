"""INSERTs that do not send what a column must have now: planning never looks at that, and nothing is written here."""

from collections.abc import Sequence

from pglast.stream import maybe_double_quote_name

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.queries.statement_text import Tree

QUERIES = named_queries(__file__)


def find_unsent(before: Connection, after: Connection, tree: Tree) -> tuple[str, ...]:
    """Columns that this INSERT leaves out and that are NOT NULL without a default only now.

    Two catalog queries.  Empty where a trigger may fill them, for a view, and where an ``INSERT … SELECT`` names no
    columns.
    """
    target = tree.get("relation", {})
    parts = [target[part] for part in ("schemaname", "relname") if part in target]
    written = ".".join(maybe_double_quote_name(part) for part in parts)
    there, here = _read_columns(before, written), _read_columns(after, written)
    sent = _sent(tree, [name for name, _ in here])
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
