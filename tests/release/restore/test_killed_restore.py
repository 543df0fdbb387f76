"""A restore beside production that is killed inside any of its steps: production is open, or it is told how it opens.

The moments lie inside the steps that `test_swap` kills between.  Every text that the application writes is unique, so
that each can be looked for: in the database, or in what was exported.
"""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from psycopg import sql
from tests.support.restoring import rows, run
from tests.support.swapping import databases, now, properties_of

from pgrehearse.clones import dump_restore
from pgrehearse.errors import DatabaseFenced, RestoreRefused
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.dump_backup import DumpBackup
from pgrehearse.release.backup.scratch import ScratchOptions
from pgrehearse.release.restore import beside, fence, from_backup
from pgrehearse.release.restore import swap as swap_module
from pgrehearse.release.restore.beside import RestoreNames, find_restores
from pgrehearse.release.restore.from_backup import restore_backup_beside
from pgrehearse.release.restore.swap import Swapped, WhatIsKnown, swap, undo

pytestmark = pytest.mark.pg("== 18")
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
SMALL = """
CREATE TABLE t (id serial PRIMARY KEY, what text);
INSERT INTO t (what) SELECT 'old-' || n FROM generate_series(1, 5) n;
"""
Prepare = Callable[[], None]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(module: ModuleType, name: str, *, call: int = 1) -> Prepare:
    return lambda: _patch(module, name, call, first=True)


def after(module: ModuleType, name: str) -> Prepare:
    return lambda: _patch(module, name, 1, first=False)


def _patch(module: ModuleType, name: str, call: int, *, first: bool) -> None:
    original, left = getattr(module, name), call

    def fatal(*given: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and first:
            die()
        answer = original(*given, **more)
        if left == 0:
            die()
        return answer

    setattr(module, name, fatal)


def while_it_loads() -> None:
    """As soon as there is a pg_restore that fills something."""
    start = vars(dump_restore)["start_child"]

    def start_and_die(arguments: Sequence[str], **more: Any) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] = start(arguments, **more)
        if Path(arguments[0]).name == "pg_restore":
            die()
        return process

    vars(dump_restore)["start_child"] = start_and_die


FENCED = {
    "shut, and others still inside": before(fence, "end_others"),
    "exported": after(swap_module, "_export"),
    "written back": after(swap_module, "write_back"),
    "sequences moved": after(swap_module, "move_sequences"),
    "settings carried over": after(swap_module, "apply_properties"),
    "renamed, and not committed": before(swap_module, "_require_same"),
}
MOMENTS: dict[str, Prepare] = {
    "made, and not marked": before(beside, "write_mark"),
    "half loaded": while_it_loads,
    "loaded, and not compared": before(from_backup, "compare_with_backup"),
    "compared, and not marked as filled": before(beside, "write_mark", call=2),
    "filled, and nothing shut": before(swap_module, "close_fence"),
    **FENCED,
    "swapped, and not told": after(swap_module, "_rename"),
}
SHORT = ("made, and not marked", "half loaded", "written back", "settings carried over", "renamed, and not committed")


class Scene:
    """A production with a proved backup, which a restore brings back again and again."""

    def __init__(self, production: Conninfo, backup: DumpBackup, home: Path) -> None:
        self.production = production
        self.backup = backup
        self.home = home
        self.written: list[str] = []

    def names(self, number: int) -> RestoreNames:
        return RestoreNames(id=f"k{number}", database=str(self.production.database))

    def write(self) -> str:
        """The application writes a row."""
        text = f"new-{len(self.written)}"
        self.written.append(text)
        with connect(self.production, verb="application") as session:
            session.execute("INSERT INTO t (what) VALUES (%s)", (text,))
        return text

    def texts(self) -> list[str]:
        with connect(self.production, verb="test") as session:
            return sorted(str(row[0]) for row in rows(session, "SELECT what FROM t"))

    def restore(self, number: int, *, reapply: bool) -> Swapped:
        """As `pgrehearse rollback` does it."""
        identifier = self.names(number).id
        with ReleaseLedger.open(self.home / "ledger.db") as ledger:
            there = any(each.id == identifier and each.mark.is_filled for each in find_restores(self.production))
            names = self.names(number)
            if not there and names.quarantine not in databases(self.production):
                restore_backup_beside(
                    self.production, self.backup, id=identifier, digest=self.backup.digest, ledger=ledger, now=now
                )
            return swap(
                self.production, identifier, directory=self.home / identifier, known=WhatIsKnown(), ledger=ledger,
                now=now, reapply=reapply,
            )  # fmt: skip

    def restore_and_die(self, number: int, prepare: Prepare, *, reapply: bool) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            try:
                prepare()
                self.restore(number, reapply=reapply)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "it came to its end; see stderr"

    def go_on(self, number: int, *, reapply: bool) -> Swapped:
        deadline = time.monotonic() + 120
        while True:
            try:
                return self.restore(number, reapply=reapply)
            except RestoreRefused as error:  # what a killed run's children leave is waited for
                if "somebody is in it" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


@pytest.fixture
def scene(production: Conninfo, uat: LocalServer, tmp_path: Path) -> Scene:
    run(production, SMALL)
    with connect(production, verb="test") as session:
        for statement in ("ALTER DATABASE {} SET app.greeting TO 'hello'", "ALTER DATABASE {} CONNECTION LIMIT 33"):
            session.execute(sql.SQL(statement).format(sql.Identifier(str(production.database))))
    with ReleaseLedger.open(tmp_path / "ledger.db") as ledger:
        backup = create_dump(
            production, directory=tmp_path / "backups", ledger=ledger, now=now,
            scratch=ScratchOptions(server=uat.conninfo()),
        )  # fmt: skip
    return Scene(production, backup, tmp_path)


def test_a_restore_that_is_killed_inside_a_step_goes_on_or_is_undone(scene: Scene) -> None:
    properties, old = properties_of(scene.production), scene.texts()
    highest = 5
    for number, moment in enumerate(MOMENTS if SOAK else SHORT):
        names, reapply = scene.names(number), moment == "written back"
        kept = [scene.write(), scene.write()]
        present = scene.texts()
        scene.restore_and_die(number, MOMENTS[moment], reapply=reapply)

        assert scene.production.database in databases(scene.production), moment
        if moment in FENCED:
            with pytest.raises(DatabaseFenced) as refused:
                connect(scene.production, verb="application")
            assert "rollback --undo" in refused.value.remedy
            (found,) = find_restores(scene.production)
            assert (found.state, found.database_admits) == ("fenced", False), moment
            if number % 2:
                undo(scene.production, names.id, ledger=None, now=now)
        swapped = moment.startswith("swapped")
        later: list[str] = []
        if moment not in FENCED or number % 2:  # as it was, and the application goes on
            assert scene.texts() == (old if swapped else present), moment
            assert properties_of(scene.production) == properties, moment
            (later if swapped else kept).append(scene.write())

        scene.go_on(number, reapply=reapply)
        assert scene.texts() == sorted(old + later + (kept if reapply else [])), moment
        assert properties_of(scene.production) == properties, moment
        there = databases(scene.production)
        assert names.quarantine in there, moment
        assert names.restored not in there, moment
        exported = "".join(path.read_text() for path in (scene.home / names.id).rglob("*.sql"))
        for text in kept:
            assert f"'{text}'" in exported, f"{moment}: {text} is in no export"
        with connect(scene.production, verb="test") as session:
            (handed_out,) = rows(session, "SELECT nextval('t_id_seq')")[0]
            assert int(str(handed_out)) > highest, f"{moment}: an id is handed out twice"
            highest = int(str(handed_out))
            session.execute("DELETE FROM t WHERE what LIKE 'new-%'")
        with ReleaseLedger.open(scene.home / "ledger.db") as ledger:
            ledger.verify()
            ended = [each.body["outcome"] for each in ledger.entries(kind="rollback-ended", subject=names.id)]
            assert ended[-1:] == ["swapped"], (moment, ended)
        assert find_restores(scene.production) == ()
