"""What follows from where a statement stands: in which transaction, behind which locks, in which file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.predict.creating import used_label
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import MAX_NAME_BYTES, RelationName
from pgrehearse.hazards.tree import Node, constant_of, kind_of, relation_of, walk
from pgrehearse.hazards.written import Written, words
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import DRIZZLE_KINDS, TransactionNeed
from pgrehearse.postgres.locks import LockMode

_CONTROL = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})
_SESSION = frozenset({"TransactionStmt", "VariableSetStmt", "VariableShowStmt", "ConstraintsSetStmt"})
_LONG_WORD = re.compile(r"[^\W\d][\w$]{31,}")
_READS_ROWS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CreateTableAsStmt"})

_READS_CONSTANTS = _READS_ROWS | {
    "AlterTableStmt", "CreateDomainStmt", "CreatePolicyStmt", "IndexStmt", "RuleStmt", "ViewStmt",
}  # fmt: skip


def refused(written: Written, situation: Situation) -> bool:
    """It needs to stand outside of any transaction, and stands in one: it fails before it takes a lock."""
    return (
        written.need is TransactionNeed.REFUSES
        and situation.in_block
        and (situation.opened_by_file or situation.wrapped)
    )


def for_any_statement(written: Written, situation: Situation) -> Iterator[Hit]:
    """Rules that hold for statements of every kind."""
    if refused(written, situation):
        text = written.on_one_line
        names = {"command": _keywords(written, text), "statement": text}
        yield Hit(hazard="concurrently-in-transaction", relation=None, even_new=True, names=names)
    if written.kind in _READS_ROWS:
        yield from _under_lock(written, situation)
    if situation.new_labels and written.kind in _READS_CONSTANTS:
        yield from _labels(written, situation)


def _labels(written: Written, situation: Situation) -> Iterator[Hit]:
    """An enum's label that this very transaction added; a constant is read as it is parsed, also of a DEFAULT."""
    labels = {label: name for name, label in situation.new_labels}
    for kind, body in walk(written.tree):
        if kind == "A_Const" and body.get("sval", {}).get("sval") in labels:
            label = body["sval"]["sval"]
            yield from used_label(situation, labels[label], label)
            return


def _keywords(written: Written, text: str) -> str:
    words = text.split()
    if "CONCURRENTLY" in text.upper():
        head = words[0].upper() if words[0].upper() != "ALTER" else "DETACH PARTITION"
        noun = "INDEX" if head in ("CREATE", "DROP") else ""
        return " ".join(each for each in (head, noun, "CONCURRENTLY") if each)
    return " ".join(words[:2]).upper()


def _under_lock(written: Written, situation: Situation) -> Iterator[Hit]:
    """Rows are read or changed while the transaction holds a lock that others wait for."""
    told: set[RelationName] = set()
    for table, where in _tables(written.kind, written.tree):
        name = situation.resolve(table)
        held = situation.holds(name)
        if held is None or held.strength < LockMode.SHARE.strength or name in told:
            continue
        relation = situation.relation(table)
        if where is not None and _by_key(where, relation.name, situation):
            continue
        told.add(name)
        names = {
            "table": table.written,
            "command": written.kind.removesuffix("Stmt").upper().replace("CREATETABLEAS", "CREATE TABLE AS"),
            "statement": written.on_one_line,
        }
        yield Hit(hazard="backfill-in-ddl-transaction", relation=table, names=names)


def _tables(kind: str, tree: Node) -> Iterator[tuple[RelationName, Node | None]]:
    """The tables that are read, each with the condition that narrows it where it stands alone."""
    if kind in ("UpdateStmt", "DeleteStmt"):
        yield relation_of(tree["relation"]), tree.get("whereClause")
    elif kind == "SelectStmt" and len(tree.get("fromClause", ())) == 1 and "RangeVar" in tree["fromClause"][0]:
        yield relation_of(tree["fromClause"][0]["RangeVar"]), tree.get("whereClause")
        for each, body in walk({key: value for key, value in tree.items() if key != "fromClause"}):
            if each == "RangeVar":
                yield relation_of(body), None
        return
    elif kind == "InsertStmt" and "selectStmt" in tree:
        yield from _tables(*kind_of(tree["selectStmt"]))
        return
    for each, body in walk(tree):
        if each == "RangeVar":
            yield relation_of(body), None
        elif each in ("UpdateStmt", "DeleteStmt"):
            yield relation_of(body["relation"]), body.get("whereClause")


def _by_key(where: Node, name: RelationName, situation: Situation) -> bool:
    """One row, by equality with an indexed column (or with ``id``, where the indexes are not known)."""
    relation = situation.relation(name)
    first = {each.key_columns[0] for each in relation.indexes.values() if each.key_columns and not each.partial}
    if not relation.knows:
        first.add("id")
    kind, body = kind_of(where)
    if kind == "BoolExpr" and body.get("boolop") == "AND_EXPR":
        return any(_by_key(each, name, situation) for each in body["args"])
    if kind != "A_Expr" or body.get("kind") not in ("AEXPR_OP", "AEXPR_IN"):
        return False
    operator = body.get("name", [{}])[0].get("String", {}).get("sval")
    if operator in ("<", "<="):  # of numbered rows, the first few
        limit = constant_of(body.get("rexpr"))
        column = body.get("lexpr", {}).get("ColumnRef", {}).get("fields", [{}])[-1].get("String", {}).get("sval")
        return column in first and isinstance(limit, int) and relation.rows is not None and limit * 2 < relation.rows
    if operator != "=":
        return False
    for side, other in (("lexpr", "rexpr"), ("rexpr", "lexpr")):
        reference = body.get(side, {})
        if isinstance(reference, dict) and "ColumnRef" in reference:
            last = reference["ColumnRef"]["fields"][-1]
            value = body.get(other, {})
            constant = isinstance(value, dict) and ("ColumnRef" not in str(value))
            if "String" in last and last["String"].get("sval") in first and constant:
                return True
    return False


def behind_locks(written: Written, situation: Situation, locks: Mapping[RelationName, LockMode]) -> Iterator[Hit]:
    """What follows from the statement's own locks and from those that its transaction holds already."""
    text = written.on_one_line if locks else ""
    strong = [name for name, mode in locks.items() if mode is LockMode.ACCESS_EXCLUSIVE]
    waited = [name for name, mode in locks.items() if mode.strength >= LockMode.SHARE.strength]
    command = " ".join(text.split()[:2]).upper()
    for table in strong[:1]:
        names = {"table": table.written, "statement": text, "command": command, "object": table.written}
        if situation.altered_last == table and written.kind == "AlterTableStmt":
            yield Hit(hazard="multiple-alter-same-table", relation=table, names=names)
    for table in waited[:1]:
        names = {"table": table.written, "statement": text}
        if not situation.lock_timeout and not situation.told_lock_timeout:
            situation.told_lock_timeout = True
            yield Hit(hazard="missing-lock-timeout", relation=table, names=names)
    situation.altered_last = strong[0] if strong and written.kind == "AlterTableStmt" else None
    if not situation.in_block or written.kind in _SESSION:
        return
    held = [name for name, mode in situation.held.items() if mode is LockMode.ACCESS_EXCLUSIVE]
    others = [name for name in strong if name not in held]
    if held and others:
        names = {"table": others[0].written, "object": held[0].written, "statement": text}
        yield Hit(hazard="multi-table-ael", relation=others[0], names=names)
    elif held and not strong and not situation.told_under_lock:
        situation.told_under_lock = True
        text = written.on_one_line
        names = {"table": held[0].written, "command": text.split()[0].upper() if text else "", "statement": text}
        yield Hit(hazard="more-statements-under-ael", relation=held[0], names=names)


def for_file(statements: Sequence[Written], situation: Situation, migration: Migration) -> Iterator[tuple[Hit, int]]:
    """Rules about a file as a whole."""
    yield from _long_names(statements)
    yield from _cannot_run_again(statements)
    yield from _own_transactions(statements, situation, migration)


def _long_names(statements: Sequence[Written]) -> Iterator[tuple[Hit, int]]:
    """PostgreSQL keeps 63 bytes of a name and cuts the rest away without an error."""
    for at, written in enumerate(statements):
        if written.kind in _READS_ROWS:
            continue
        for word in _LONG_WORD.findall(written.text):
            if len(word.encode()) > MAX_NAME_BYTES and word in list(words(written.text)):
                cut = word.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
                yield Hit(hazard="identifier-too-long", relation=None, names={"object": word, "new": cut}), at


def _cannot_run_again(statements: Sequence[Written]) -> Iterator[tuple[Hit, int]]:
    """Beside a statement that refuses a transaction, each other one is kept when a later one fails."""
    changing = [(at, each) for at, each in enumerate(statements) if each.kind not in _SESSION | _READS_ROWS]
    if len(changing) < 2 or not any(each.need is TransactionNeed.REFUSES for _, each in changing):
        return
    for at, each in changing[:-1]:
        if not _guarded(each):
            text = each.on_one_line
            names = {"command": " ".join(text.split()[:2]).upper(), "statement": text}
            yield Hit(hazard="not-rerunnable", relation=None, names=names), at
            return


def _guarded(written: Written) -> bool:
    said = list(words(written.text))
    pairs = set(pairwise(said))
    return ("if", "exists") in pairs or ("if", "not") in pairs or ("or", "replace") in pairs


def _own_transactions(
    statements: Sequence[Written], situation: Situation, migration: Migration
) -> Iterator[tuple[Hit, int]]:
    """The file's own BEGIN inside its tool's transaction; the others of its commands belong to the first."""
    first = next((at for at, each in enumerate(statements) if each.need in _CONTROL), None)
    if first is None:
        return
    names = {"command": " ".join(statements[first].text.split()).upper()}
    if migration.kind in DRIZZLE_KINDS:
        yield Hit(hazard="nested-transaction", relation=None, names=names), first
    elif situation.tool_wraps:
        # It runs, but the COMMIT ends the tool's transaction, and what follows is not taken back.
        yield (
            Hit(
                hazard="nested-transaction",
                relation=None,
                names=names,
                level=Level.WARNING,
                classes=(HazardClass.HARD_TO_UNDO,),
            ),
            first,
        )
    last = [each.need for each in statements if each.need in _CONTROL][-1]
    if last is TransactionNeed.BEGINS and migration.kind not in DRIZZLE_KINDS:
        at = max(at for at, each in enumerate(statements) if each.need is TransactionNeed.BEGINS)
        yield Hit(hazard="uncommitted-transaction", relation=None, names=names), at
