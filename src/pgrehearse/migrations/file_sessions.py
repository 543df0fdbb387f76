"""Sessions for our own ledger, which no other tool reads: one per file, as ``psql -f`` of each would have."""

from collections.abc import Callable
from contextlib import suppress

import psycopg

from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.segments import PendingFile
from pgrehearse.migrations.session_state import leaves_session_clean, session_settings


class FileSessions:
    """The session of the file that is being run.  Context manager: leaving it closes the session.

    A session is used for the next file too if its statements so far can have left nothing in it.
    """

    def __init__(self, open_executor: Callable[[], Executor]) -> None:
        self._open_executor = open_executor
        self._executor: Executor | None = None
        self._version: str | None = None
        self._clean = False

    def __enter__(self) -> "FileSessions":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the session; an open transaction in it is rolled back by the server."""
        executor, self._executor = self._executor, None
        if executor is not None:
            with suppress(psycopg.Error):
                executor.session.close()

    def enter(self, file: PendingFile) -> Executor:
        """This file's session, idle; what an earlier run's statements SET in theirs is SET again."""
        if self._executor is not None and self._version == file.migration.version:
            return self._executor
        if self._executor is None or not self._clean:
            self.close()
            self._executor = self._open_executor()
        for statement in session_settings(file.statements[: file.statements_done]):
            self._executor.session.execute(statement.text.encode())
        self._version = file.migration.version
        self._clean = leaves_session_clean(file.statements)
        return self._executor
