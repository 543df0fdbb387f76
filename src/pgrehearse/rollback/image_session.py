"""The session in which images are read and written: what changes a value's text, or hides a row, is pinned."""

from collections.abc import Iterator
from contextlib import contextmanager

from pgrehearse.data.session import SETTINGS
from pgrehearse.postgres.connect import Connection

# The timeouts stay the caller's: inside a migration's transaction they bound how long anybody waits for it.
LEFT_ALONE = frozenset({
    "client_encoding", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
    "idle_session_timeout", "default_transaction_read_only", "default_transaction_isolation",
})  # fmt: skip
PINNED = {name: value for name, value in SETTINGS if name not in LEFT_ALONE}

READ = """
SELECT s.name, pg_catalog.current_setting(s.name), pg_catalog.current_setting(s.name) IS DISTINCT FROM s.value
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS s (name, value)
"""
SET = """
SELECT pg_catalog.set_config(s.name, s.value, true)
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS s (name, value)
"""


@contextmanager
def pinned(session: Connection, *, role: str | None = None) -> Iterator[None]:
    """Inside the caller's transaction: settings as text needs them, and the role that owns the images.

    A savepoint is around all of it.  Afterwards every setting is as it was, whatever the migration had set: nothing
    that runs later in the transaction can tell.
    """
    wanted = dict(PINNED)
    if role is not None:
        wanted["role"] = role
    with session.transaction():
        rows = session.execute(READ, (list(wanted), list(wanted.values()))).fetchall()
        changed = {name: value for name, value, differs in rows if differs}
        # `role` last when it is taken, first when it is given back: another setting may need its rights.
        session.execute(SET, (list(changed), [wanted[name] for name in changed]))
        yield
        back = {name: changed[name] for name in sorted(changed, key=lambda name: name != "role")}
        session.execute(SET, (list(back), list(back.values())))
