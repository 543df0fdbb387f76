"""Queries that a session plans once and is asked many times, together in one message.

Planning a query over many catalogs takes the server longer than running it, and each answer that is waited for takes
longer than both.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, LiteralString
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.adapt import Transformer
from psycopg.pq import TransactionStatus

from pgrehearse.postgres.connect import Connection

SAVEPOINT = "SAVEPOINT pgrehearse_prepared"
UNDO = "ROLLBACK TO SAVEPOINT pgrehearse_prepared; RELEASE SAVEPOINT pgrehearse_prepared"

Rows = list[tuple[Any, ...]]
_names = count(1)  # a name is used once: what a failed message left prepared is never met again


class PreparedQueries:
    """Some queries with ``$1`` … as parameters, prepared in each session at their first use there.

    ``settings`` hold while they run.  A session that was told to DEALLOCATE ALL prepares them again.
    """

    def __init__(self, queries: Mapping[str, LiteralString], *, settings: Mapping[str, str] | None = None) -> None:
        self._queries = dict(queries)
        if settings:
            calls = [
                sql.SQL("pg_catalog.set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
                for name, value in settings.items()
            ]
            self._settings: str | None = sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls)).as_string(None)
        else:
            self._settings = None
        self._prepared: WeakKeyDictionary[Connection, dict[str, str]] = WeakKeyDictionary()

    def read(self, session: Connection, *calls: tuple[str, Sequence[Any]]) -> list[Rows]:
        """The rows of each call, (name, parameters), in order.  One round trip.

        In a savepoint of the open transaction, else in a transaction of its own; either is rolled back, and with it
        settings and locks.  What the server raises leaves the transaction as it was.
        """
        try:
            return self._send(session, calls)
        except psycopg.errors.InvalidSqlStatementName:
            self._prepared.pop(session, None)
            return self._send(session, calls)

    def _send(self, session: Connection, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Rows]:
        inside = session.info.transaction_status == TransactionStatus.INTRANS
        names = self._prepared.setdefault(session, {})
        literals = Transformer.from_context(session)  # one for all: each value would make its own
        message = [SAVEPOINT if inside else "BEGIN"]
        newly: dict[str, str] = {}

        def prepared(name: str, query: str) -> str:
            known = names.get(name) or newly.get(name)
            if known is None:
                known = newly[name] = f"pgrehearse_{next(_names)}"
                message.append(f"PREPARE {known} AS {query}")
            return known

        if self._settings is not None:
            message.append(f"EXECUTE {prepared('', self._settings)}")
        wanted: list[int] = []
        for name, parameters in calls:
            statement = prepared(name, self._queries[name])
            values = ", ".join(sql.Literal(value).as_string(literals) for value in parameters)
            wanted.append(len(message))
            message.append(f"EXECUTE {statement}({values})" if values else f"EXECUTE {statement}")
        message.append(UNDO if inside else "ROLLBACK")
        try:
            cursor = session.execute("; ".join(message).encode())
        except psycopg.Error:
            if session.info.transaction_status == TransactionStatus.INERROR:
                session.execute(UNDO if inside else "ROLLBACK")
            raise
        names |= newly
        found: list[Rows] = []
        for position in range(wanted[-1] + 1):
            if position:
                cursor.nextset()
            if position in wanted:
                found.append(cursor.fetchall())
        cursor.close()
        return found
