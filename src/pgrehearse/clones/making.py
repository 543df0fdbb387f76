"""The life of a pair while it is made and used: leaving drops it all again, or records that it is kept."""

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql

from pgrehearse.clones.login_role import drop_login, retire_login
from pgrehearse.clones.place import Place
from pgrehearse.clones.record import CloneRecord, without_secrets
from pgrehearse.clones.template import CloneNames, clone_failure, drop_database, end_makers_sessions
from pgrehearse.errors import CloneFailed, CloneLeftBehind, PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.postgres.local_server import MARKER, LocalServer
from pgrehearse.postgres.owner import Owner


class Making:
    """What has been made so far.  Context manager: an error, Ctrl-C and the ordinary end all undo it."""

    def __init__(self, *, ledger: ReleaseLedger, now: Callable[[], datetime], names: CloneNames, keep: bool) -> None:
        self.names = names
        self.server: LocalServer | None = None
        self.place: Place | None = None
        self._record = CloneRecord(ledger=ledger, now=now, names=names)
        self._keep = keep
        self._directory: Path | None = None
        self._clone: Conninfo | None = None
        self._intended = False

    def __enter__(self) -> "Making":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keep and error is None and self._clone is not None:
            self._keep_it(self._clone)
            return
        try:
            self._undo()
        except (PgRehearseError, psycopg.Error) as left:
            told = f"clone {self.names.id} could not be dropped: {left}"
            if isinstance(error, PgRehearseError):
                error.args = (f"{error}\n{told}",)
                error.remedy = CloneLeftBehind.default_remedy  # its own may say that the copy was dropped
            elif error is None:
                raise CloneLeftBehind(told) from left
            else:
                error.add_note(told)

    def make_directory(self, parent: Path | None) -> Path:
        """A directory for the dump (0700 inside) and a private server, marked as ours."""
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="pgrehearse-", dir=parent))
            (self._directory / MARKER).write_text(Owner.of(os.getpid()).as_text())
            if os.geteuid() == 0:  # a private server runs as another user, who must get to its own directory in here
                self._directory.chmod(0o711)
        except OSError as error:
            raise CloneFailed(
                f"cannot make a directory for the copy in {parent or tempfile.gettempdir()}: {error.strerror}",
                remedy="Name a directory that you may write to with clone.directory.",
            ) from error
        return self._directory

    def intend(
        self,
        *,
        source: DatabaseIdentity,
        target: Conninfo | None = None,
        server: DatabaseIdentity | None = None,
        roles: tuple[str, ...] = (),
    ) -> None:
        """Record what is about to be made, so that a killed process leaves nothing unknown."""
        assert self._directory is not None
        self._record.intend(source=source, target=target, server=server, roles=roles, directory=self._directory)
        self._intended = True

    def finished(self, clone: Conninfo) -> None:
        """The pair is whole: only now may it be kept."""
        self._clone = clone

    def _undo(self) -> None:
        try:
            if self.server is not None:
                self.server.wipe()
            elif self.place is not None:
                with self.place.open_admin(verb="drop") as admin:
                    drop_pair(admin, self.names, self.place.missing_roles)
        finally:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
        if self._intended:
            self._record.dropped(by="its maker")

    def _keep_it(self, clone: Conninfo) -> None:
        assert self._directory is not None
        if self.server is None:
            assert self.place is not None
            try:
                with self.place.open_admin(verb="drop") as admin:
                    retire_login(admin, self.names)
            except psycopg.Error as error:
                raise clone_failure(error, f"ending the login of clone {self.names.id}") from error
            shutil.rmtree(self._directory, ignore_errors=True)
            self._record.kept(address=without_secrets(clone), server=None)
            return
        reached = clone.replaced(password=None, passfile=str(write_passfile(self._directory, clone)))
        assert self.server.pid is not None
        self._record.kept(address=reached.text, server=Owner.of(self.server.pid))
        self.server.release()


def drop_pair(admin: Connection, names: CloneNames, roles: tuple[str, ...]) -> tuple[str, ...]:
    """Drop what a clone made on a shared server; returns the databases that were there.

    Its login goes too, and a role of production that it made unless something else depends on it by now.
    Raises `NotOurs`.
    """
    end_makers_sessions(admin, names)
    dropped = tuple(name for name in names.both if drop_database(admin, name, names))
    drop_login(admin, names)
    for role in roles:
        row = admin.execute(
            "SELECT pg_catalog.shobj_description(r.oid, 'pg_authid') FROM pg_catalog.pg_roles r WHERE r.rolname = %s",
            (role,),
        ).fetchone()
        if row is not None and row[0] == names.comment:
            try:
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
            except psycopg.errors.DependentObjectsStillExist:
                admin.execute(sql.SQL("COMMENT ON ROLE {} IS NULL").format(sql.Identifier(role)))
    return dropped


def write_passfile(directory: Path, conninfo: Conninfo) -> Path:
    """libpq's password file for a private server, readable by us only: its address can then be printed."""
    given = conninfo.parameters
    fields = ["*", "*", "*", given["user"], given["password"]]
    file = directory / "passfile"
    file.touch(mode=0o600)
    file.write_text(":".join(field.replace("\\", r"\\").replace(":", r"\:") for field in fields) + "\n")
    return file
