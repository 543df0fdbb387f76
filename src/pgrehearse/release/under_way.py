"""What is going on with a database, or was left by what went on: for people."""

from collections.abc import Iterator

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.release.history import find_unfinished
from pgrehearse.release.lease import describe
from pgrehearse.release.outlives_rollback import find_left_behind


def told_under_way(releases: ReleaseLedger, key: str) -> Iterator[str]:
    """Who is promoting this database now, what was left unfinished, and what rolled-back ones left behind."""
    lease = releases.read_lease(f"promote {key}")
    if lease is not None and not lease.has_ended:
        yield f"{describe(lease)}; `promote` waits for nobody and is refused meanwhile"
    unfinished = find_unfinished(releases, key)
    if unfinished is not None:
        yield f"promotion {unfinished.id} of {unfinished.began_at} is not finished: `pgrehearse resume` goes on with it"
    yield from find_left_behind(releases, key)
