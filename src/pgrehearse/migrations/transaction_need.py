"""How a statement stands to a transaction block, as PostgreSQL's ``PreventInTransactionBlock`` callers decide it.

Read from libpg_query's JSON tree as text, never loaded: a seed file's ten megabytes of VALUES would
cost six seconds and a deep expression the interpreter's stack.  Inside a JSON string every quote is
escaped, so a needle that holds quotes can only match structure.
"""

import re
from enum import Enum

import pglast.parser


class TransactionNeed(Enum):
    """How a statement stands to a transaction block."""

    ANY = "any"  # runs inside or outside
    REFUSES = "refuses"  # fails inside a transaction block: CONCURRENTLY, VACUUM, CREATE DATABASE …
    BEGINS = "begins"  # BEGIN, START TRANSACTION
    COMMITS = "commits"  # COMMIT, END
    ROLLS_BACK = "rolls-back"  # ROLLBACK, ABORT (not TO SAVEPOINT)


ALWAYS_REFUSE = frozenset(
    {
        "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt", "AlterSystemStmt",
        "DropSubscriptionStmt",  # only with a slot, which the catalog knows; outside works for both
    }
)  # fmt: skip

_TRANSACTION = re.compile(r'"kind":"TRANS_STMT_(\w+)"')
_TRANSACTION_NEEDS = {
    "BEGIN": TransactionNeed.BEGINS,
    "START": TransactionNeed.BEGINS,
    "COMMIT": TransactionNeed.COMMITS,
    "ROLLBACK": TransactionNeed.ROLLS_BACK,
}
_NOT_SUPPORTED = {"PREPARE": "PREPARE TRANSACTION", "COMMIT_PREPARED": "COMMIT PREPARED",
                  "ROLLBACK_PREPARED": "ROLLBACK PREPARED"}  # fmt: skip

_OFF = r'"arg":\{(?:"String":\{"sval":"(?:false|off|0)"\}|"Boolean":\{\}|"Integer":\{\})'
_REINDEX_ALL = re.compile(r'"kind":"REINDEX_OBJECT_(?:SCHEMA|SYSTEM|DATABASE)"')
_CONCURRENTLY = re.compile(r'"defname":"concurrently"(?!,' + _OFF + ")")
_NO_SLOT = re.compile(r'"defname":"(?:create_slot|connect)",' + _OFF)
_REFRESHES = re.compile(r'"kind":"ALTER_SUBSCRIPTION_(?:REFRESH|(?:SET|ADD|DROP)_PUBLICATION)')
_NO_REFRESH = re.compile(r'"defname":"refresh",' + _OFF)
_COMMIT_WORD = re.compile(r"\b(?:commit|rollback)\b\s*(?:;|and\b)", re.IGNORECASE)
_COMMIT_NODE = re.compile(r'"PLpgSQL_stmt_(?:commit|rollback)":')


def transaction_need(kind: str, tree: str, text: str) -> TransactionNeed:
    """What this statement needs.

    ``tree`` is the JSON of the node's body.  Rules that depend on the catalog (REINDEX of a
    partitioned table, CALL of a procedure that commits) answer ANY; the apply path learns from the
    server's refusal.
    """
    refuses = TransactionNeed.REFUSES
    if kind in ALWAYS_REFUSE:
        return refuses
    match kind:
        case "TransactionStmt":
            found = _TRANSACTION.search(tree)
            return _TRANSACTION_NEEDS.get(found.group(1) if found else "", TransactionNeed.ANY)
        case "IndexStmt" | "DropStmt" if '"concurrent":true' in tree:
            return refuses
        case "AlterTableStmt" if '"subtype":"AT_DetachPartition"' in tree and '"concurrent":true' in tree:
            return refuses
        case "ReindexStmt" if _REINDEX_ALL.search(tree) or _CONCURRENTLY.search(tree):
            return refuses
        case "VacuumStmt" if '"is_vacuumcmd":true' in tree:
            return refuses
        case "ClusterStmt" if '"relation":' not in tree:
            return refuses
        case "DiscardStmt" if '"DISCARD_ALL"' in tree:
            return refuses
        case "AlterDatabaseStmt" if '"defname":"tablespace"' in tree:
            return refuses
        case "CreateSubscriptionStmt" if not _NO_SLOT.search(tree):
            return refuses
        case "AlterSubscriptionStmt" if _REFRESHES.search(tree) and not _NO_REFRESH.search(tree):
            return refuses
        case "DoStmt" if body_ends_transactions(text):
            return refuses
    return TransactionNeed.ANY


def unsupported_transaction_control(kind: str, tree: str) -> str | None:
    """The transaction command that we refuse to run in a migration, or None."""
    if kind != "TransactionStmt":
        return None
    if '"chain":true' in tree:
        return "ROLLBACK AND CHAIN" if "TRANS_STMT_ROLLBACK" in tree else "COMMIT AND CHAIN"
    found = _TRANSACTION.search(tree)
    return _NOT_SUPPORTED.get(found.group(1)) if found else None


def touches_whole_database(kind: str, tree: str) -> bool:
    """VACUUM or CLUSTER without a table, REINDEX DATABASE: they need a lock on the ledger's table too."""
    match kind:
        case "VacuumStmt":
            return '"rels":' not in tree
        case "ClusterStmt":
            return '"relation":' not in tree
        case "ReindexStmt":
            return '"REINDEX_OBJECT_DATABASE"' in tree
    return False


def body_ends_transactions(text: str) -> bool:
    """Whether a DO block or CREATE PROCEDURE has a COMMIT or ROLLBACK of its own.

    By PL/pgSQL's parser; for another language, or a body it cannot read, by the words.
    """
    if not _COMMIT_WORD.search(text):
        return False
    try:
        return bool(_COMMIT_NODE.search(pglast.parser.parse_plpgsql_json(text)))
    except pglast.parser.ParseError:
        return True
