"""A file's SQL split into statements by the server's own parser, and what each needs from its transaction."""

from dataclasses import dataclass
from enum import Enum


class TransactionNeed(Enum):
    """How a statement stands to a transaction block."""

    ANY = "any"  # runs inside or outside
    REFUSES = "refuses"  # fails inside a transaction block: CONCURRENTLY, VACUUM, CREATE DATABASE …
    BEGINS = "begins"  # BEGIN, START TRANSACTION
    COMMITS = "commits"  # COMMIT, END
    ROLLS_BACK = "rolls-back"  # ROLLBACK, ABORT (not TO SAVEPOINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement as it stands in its file; `text` is what is sent, byte for byte, without the semicolon."""

    index: int  # 0-based in its file
    text: str
    line: int  # of its first token, 1-based, in the file as an editor shows it
    column: int  # 1-based, in characters
    kind: str  # the parse tree's node: "CreateStmt", "AlterTableStmt", "IndexStmt" …
    need: TransactionNeed
    beyond: str | None  # why it reaches beyond its database ("ALTER SYSTEM changes the whole server"), else None
