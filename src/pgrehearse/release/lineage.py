"""Which database a record of the release ledger is about, though a restore has put another one in its place.

A restore beside production is a new database under the old name: it has another oid, and a history up to the backup
that it was made from.  The entry that ends it names the new one, so that its line can be followed back.
"""

from collections.abc import Mapping

from pgrehearse.ledger import Entry, ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.release.promotion import BEGUN, BY_INVERSE, BY_RESTORE, ROLLBACK_ENDED
from pgrehearse.release.restore.beside import open_admin, require_database
from pgrehearse.release.restore.database_properties import require_properties


def database_key(session: Connection) -> str:
    """What names a database in the release ledger: the same after a failover, another after a restore beside it."""
    identity = read_identity(session)
    if identity.system_identifier is None:
        return identity.address
    return f"{identity.system_identifier}/{identity.database_oid}"


def key_from_outside(production: Conninfo) -> str:
    """`database_key` of a database that may admit nobody, asked from another one of its server."""
    with open_admin(production) as admin:
        return key_through(admin, production)


def key_through(admin: Connection, production: Conninfo, *, database: str | None = None) -> str:
    """The same, in a session in another database of its server; ``database``: the one that will have its name."""
    identifier = read_identity(admin).system_identifier
    oid = require_properties(admin, database or require_database(production)).oid
    return production.address if identifier is None else f"{identifier}/{oid}"


def find_lineage(releases: ReleaseLedger, key: str) -> frozenset[str]:
    """The keys of this database and of those in whose place restores have put it, one after the other."""
    keys = {key}
    begun = {entry.subject: entry.body["key"] for entry in releases.entries(kind=BEGUN)}
    for swapped in reversed(_swaps(releases)):
        if swapped.body.get("key") in keys and swapped.subject in begun:
            keys.add(begun[swapped.subject])
    return frozenset(keys)


def find_replacement(releases: ReleaseLedger, key: str, earlier: str) -> Entry | None:
    """The end of the restore that has put another database in the place of ``earlier``, if ``key`` is in its line."""
    if earlier == key or earlier not in find_lineage(releases, key):
        return None
    begun = {entry.subject: entry.body["key"] for entry in releases.entries(kind=BEGUN)}
    return next((swapped for swapped in reversed(_swaps(releases)) if begun.get(swapped.subject) == earlier), None)


def find_taken_back(releases: ReleaseLedger) -> Mapping[str, Entry]:
    """The promotions that were taken back, each with the entry that says so.

    A restore takes back whatever was promoted between its backup and itself: all that began with its own promotion or
    later.
    """
    back: dict[str, Entry] = {}
    for entry in releases.entries(kind=ROLLBACK_ENDED):
        if entry.body["outcome"] in (BY_INVERSE, BY_RESTORE):
            back.setdefault(entry.subject, entry)
    begun = releases.entries(kind=BEGUN)
    for swapped in _swaps(releases):
        own = next((entry for entry in begun if entry.subject == swapped.subject), None)
        if own is None:
            continue
        line = find_lineage(releases, own.body["key"])
        for entry in begun:
            if entry.body["key"] in line and own.seq <= entry.seq < swapped.seq:
                back.setdefault(entry.subject, swapped)
    return back


def _swaps(releases: ReleaseLedger) -> tuple[Entry, ...]:
    """The restores that took production's place, oldest first."""
    ended = [entry for entry in releases.entries(kind=ROLLBACK_ENDED) if entry.body["outcome"] == BY_RESTORE]
    first = {entry.subject: entry for entry in reversed(ended)}  # a run that was killed may say it again
    return tuple(entry for entry in ended if first[entry.subject] is entry)
