"""What a restored database under production's name does not have, told before anything is done."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


class Left(Enum):
    """What kind of thing it is."""

    PREPARED_TRANSACTION = "prepared transaction"
    REPLICATION_SLOT = "logical replication slot"
    SUBSCRIPTION = "subscription"
    PUBLICATION = "publication"
    EXTENSION = "extension"
    FOREIGN_TABLES = "foreign tables"
    LARGE_OBJECTS = "large objects"
    BEFORE_IMAGES = "before-images"
    SESSIONS = "sessions"
    STATISTICS = "statistics"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaysBehind:
    """One thing, by name, and a sentence.  ``blocks``: the databases' names cannot be swapped while it is there."""

    kind: Left
    name: str
    told: str
    blocks: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind.value, "name": self.name, "told": self.told, "blocks": self.blocks}


def what_stays_behind(session: Connection) -> tuple[StaysBehind, ...]:
    """Ask the database that is to be replaced.  Nine small catalog queries; needs no special right."""
    found: list[StaysBehind] = []

    def tell(kind: Left, name: str, told: str, *, blocks: bool = False) -> None:
        found.append(StaysBehind(kind=kind, name=name, told=told, blocks=blocks))

    for gid, owner, since in session.execute(QUERIES["prepared"]):
        tell(
            Left.PREPARED_TRANSACTION, gid,
            f"it is prepared since {since} by {owner}; a database with one cannot be renamed: COMMIT PREPARED or "
            "ROLLBACK PREPARED it first",
            blocks=True,
        )  # fmt: skip
    for name, plugin, active, behind in session.execute(QUERIES["slots"]):
        tell(
            Left.REPLICATION_SLOT, name,
            f"it stays with the failed database{' and is in use now' if active else ''} ({plugin}, {behind} of WAL "
            "behind): its consumer gets nothing from the restored one, and it holds WAL back until somebody drops it",
        )  # fmt: skip
    for name, enabled, slot in session.execute(QUERIES["subscriptions"]):
        tell(
            Left.SUBSCRIPTION, name,
            f"{'it is enabled; ' if enabled else ''}its worker belongs to the failed database, and so does what it has "
            f"received (slot {slot or 'none'} on the publisher); it is not in the restored one: create it there anew",
        )  # fmt: skip
    for (name,) in session.execute(QUERIES["publications"]):
        tell(
            Left.PUBLICATION, name,
            "the restored database has it, but its subscribers hold rows of the failed one: they must copy theirs anew",
        )  # fmt: skip
    for (name,) in session.execute(QUERIES["extensions"]):
        tell(
            Left.EXTENSION, name,
            "its tables are as they were in the backup; workers, jobs and counters of its own stay with the failed "
            "database",
        )  # fmt: skip
    foreign = session.execute(QUERIES["foreign_tables"]).fetchone()
    if foreign and foreign[0]:
        told = "their rows stand on another server and are as they are there now, not as of the backup"
        tell(Left.FOREIGN_TABLES, str(foreign[0]), told)
    large = session.execute(QUERIES["large_objects"]).fetchone()
    if large and large[0]:
        told = "what was written to them since the backup is not exported: it stays in the failed database"
        tell(Left.LARGE_OBJECTS, f"{large[0]:,}", told)
    images = session.execute(QUERIES["images"]).fetchone()
    if images and images[0]:
        tell(Left.BEFORE_IMAGES, "pgrehearse_quarantine", "they stay in the failed database")
    sessions = session.execute(QUERIES["sessions"]).fetchone()
    if sessions and sessions[0]:
        told = "they are ended, with their transactions, temporary tables and advisory locks"
        tell(Left.SESSIONS, str(sessions[0]), told)
    tell(
        Left.STATISTICS, "pg_stat_*",
        "the cumulative statistics of the restored database begin at zero; the planner's are made by ANALYZE",
    )  # fmt: skip
    tell(Left.IDENTITY, "oid", "the restored database has another oid: receipts of the old one do not fit it")
    return tuple(found)
