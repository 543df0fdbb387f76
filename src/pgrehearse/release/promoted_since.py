"""What every promotion since a backup did to each table, so that a restore tells the application's writes apart."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pgrehearse.errors import PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.rehearsal.commits import CommitEvidence
from pgrehearse.rehearsal.receipt import Receipt, find_receipt
from pgrehearse.rehearsal.tolerated import find_tolerated, leaves_of
from pgrehearse.release.history import PromotionRecord, read_promotions
from pgrehearse.release.restore.migration_transactions import Relation
from pgrehearse.release.restore.swap import WhatIsKnown
from pgrehearse.release.restore.touched import (
    TouchedTable,
    sequences_moved_back,
    touched_one_after_another,
    touched_tables,
)
from pgrehearse.schema.packed import unpack


def find_promoted_since(
    releases: ReleaseLedger, promotion: PromotionRecord, receipt: Receipt | None, *, ledgers: tuple[Relation, ...]
) -> WhatIsKnown:
    """Of this promotion (of this receipt) and whatever was begun after it, taken back or not: all ran after its backup.

    One that nobody rehearsed, or whose receipt is not there or cannot be believed, makes everything unclear.
    """
    touched: tuple[TouchedTable, ...] = ()
    moved_back: frozenset[str] = frozenset()
    unrehearsed = False
    for record in read_promotions(releases, promotion.key):
        if record.seq < promotion.seq:
            continue
        found = receipt if record.id == promotion.id else _find(releases, record)
        document = found.document if found is not None else None
        if document is None or "commits" not in document["receipt"]:
            unrehearsed = True
            continue
        touched = touched_one_after_another(touched, touched_by(document))
        moved_back |= sequences_moved_back(document["findings"])
    return WhatIsKnown(touched=touched, moved_back=moved_back, unrehearsed=unrehearsed, ledgers=ledgers)


def touched_by(document: Mapping[str, Any]) -> tuple[TouchedTable, ...]:
    """What one receipt says of its plan: what the rehearsal saw, and what the files let production do besides."""
    objects = document["receipt"]["schema_objects"]
    before, after = unpack(objects["before"]), unpack(objects["after"])
    tolerated = find_tolerated(document.get("declarations", ()), before)
    commits = [CommitEvidence.from_json(commit) for commit in document["receipt"]["commits"]]
    written = [statement.written for commit in commits for statement in commit.statements]
    written += [commit.at_commit for commit in commits]
    deleted = {name for found in written for name, rows in found.items() if rows.deleted}
    deleted_before, deleted_after = leaves_of(before, deleted), leaves_of(after, deleted)
    columns = {table["name"]: [column["name"] for column in table["columns"]] for table in document["tables"]}
    return tuple(
        replace(
            table,
            written_columns=table.written_columns
            | {name for name in columns[table.name] if name is not None and table.name in tolerated.changes},
            adds_rows=table.adds_rows or table.name in tolerated.gains,
            deletes_rows=table.deletes_rows
            or table.name in tolerated.loses | deleted_before
            or table.name_after in deleted_after,
        )
        for table in touched_tables(document["tables"])
    )


def _find(releases: ReleaseLedger, record: PromotionRecord) -> Receipt | None:
    try:
        return find_receipt(releases, record.receipt) if record.receipt is not None else None
    except PgRehearseError:
        return None
