"""A production with all that belongs to a database, a restore beside it, and a swap in a process that is killed."""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from pgrehearse.ledger import Entry, ReleaseLedger
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.restore.beside import Fill, RestoreNames, restore_beside
from pgrehearse.release.restore.swap import Swapped, WhatIsKnown, swap

ID = "20261122_abc"


def now() -> datetime:
    return datetime.now(UTC)


class Dump:
    """A plain dump of a database, to be filled into others."""

    def __init__(self, database: Conninfo, directory: Path) -> None:
        with connect(database, verb="test") as session:
            self._binaries = require_client(session.info.server_version // 10000)
        self._file = directory / "database.dump"
        self._run("pg_dump", database, "-Fc", "-Z0", f"--file={self._file}")

    def fill(self, target: Conninfo) -> None:
        self._run("pg_restore", target, "--exit-on-error", str(self._file))

    def _run(self, program: str, database: Conninfo, *arguments: str) -> None:
        address, environment = database.for_child()
        command = [self._binaries.program(program), f"--dbname={address}", *arguments]
        subprocess.run(command, env=environment, check=True)


def restore(production: Conninfo, fill: Fill, *, ledger: ReleaseLedger | None = None) -> RestoreNames:
    return restore_beside(
        production, id=ID, backup="b1", fill=fill, compare=lambda _: (), ledger=ledger, now=now
    )  # fmt: skip


def swap_now(production: Conninfo, directory: Path, **more: Any) -> Swapped:
    return swap(production, ID, directory=directory, now=now, **({"known": WhatIsKnown(), "ledger": None} | more))


class KillingLedger:
    """Ends this process, as kill -9 does, just before its Nth entry."""

    def __init__(self, ledger: ReleaseLedger, fatal: int) -> None:
        self._ledger = ledger
        self._left = fatal
        self.path = ledger.path

    def append(self, kind: str, subject: str, body: Mapping[str, Any], at: datetime) -> Entry:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._ledger.append(kind, subject, body, at)


def fork_swap(production: Conninfo, directory: Path, ledger: Path, *, fatal: int, **more: Any) -> int:
    """Run the swap in a forked child; the signal that ended it, or 0 when it came to its end."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the swap failed; see stderr"
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 1
    try:
        with ReleaseLedger.open(ledger) as opened:
            swap_now(production, directory, ledger=KillingLedger(opened, fatal), **more)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def set_properties(production: Conninfo, role: str) -> None:
    """Everything that pg_dump of one database leaves out."""
    name = sql.Identifier(str(production.database))
    with connect(production, verb="test") as session:
        statements = (
            "ALTER DATABASE {} SET timezone TO 'Asia/Tokyo'",
            """ALTER DATABASE {} SET search_path TO shop, "Odd One", public""",
            "ALTER DATABASE {} SET app.greeting TO 'it''s, \"me\"'",
            "ALTER ROLE {role} IN DATABASE {} SET lock_timeout TO '7s'",
            "ALTER DATABASE {} CONNECTION LIMIT 17",
            "REVOKE ALL ON DATABASE {} FROM PUBLIC",
            "GRANT CONNECT, TEMPORARY ON DATABASE {} TO {role} WITH GRANT OPTION",
            "COMMENT ON DATABASE {} IS 'the shop''s own'",
            "ALTER DATABASE {} OWNER TO {role}",
        )
        for statement in statements:
            session.execute(sql.SQL(statement).format(name, role=sql.Identifier(role)))
        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        session.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {} WITH GRANT OPTION").format(name, sql.Identifier("postgres"))
        )
        session.execute("RESET ROLE")


def properties_of(database: Conninfo) -> Sequence[object]:
    """What the shared catalogs say of a database, its name and oid apart: read with SQL of our own here."""
    with connect(database.replaced(dbname="postgres"), verb="test") as session:
        return session.execute(
            """SELECT r.rolname, d.datallowconn, d.datconnlimit, d.datcollate, pg_encoding_to_char(d.encoding),
               shobj_description(d.oid, 'pg_database'),
               ARRAY(SELECT a::text FROM unnest(d.datacl) a ORDER BY 1)::text,
               ARRAY(SELECT s.setrole::regrole::text || s.setconfig::text FROM pg_db_role_setting s
                     WHERE s.setdatabase = d.oid ORDER BY 1)::text
               FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = %s""",
            (database.database,),
        ).fetchall()


def databases(production: Conninfo) -> set[str]:
    with connect(production.replaced(dbname="postgres"), verb="test") as session:
        return {row[0] for row in session.execute("SELECT datname FROM pg_database")}
