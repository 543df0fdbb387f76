"""The team's own backup command: exit code 0 in time is the only yes, and no secret is recorded."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.applying import wait_until

from pgrehearse.errors import ConfigurationError, DrillTooOld, ExternalBackupFailed
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.progress import Silent
from pgrehearse.release.backup.external import ExternalBackup, ExternalOptions, record_external, take_external
from pgrehearse.release.backup.inventory import State, list_backups
from pgrehearse.release.recoverability import EXTERNAL, RecoverabilityPolicy, secure

from .conftest import Home

PRODUCTION = Conninfo.parse("postgresql://app:s%40cret%2Fword@db.example:5433/shop")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Take = Callable[..., ExternalBackup]
IDENTITY = DatabaseIdentity(
    address="db.example:5433/shop", database="shop", database_oid=16385, system_identifier=7, server_version=180004,
    in_recovery=False,
)  # fmt: skip


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., ExternalOptions]:
    def options(command: str, **more: Any) -> ExternalOptions:
        return ExternalOptions(
            command=command, working_directory=tmp_path, environment={"PATH": "/usr/bin:/bin"}, **more
        )

    return options


@pytest.fixture
def take(options: Callable[..., ExternalOptions]) -> Take:
    def take(command: str, **more: Any) -> ExternalBackup:
        return take_external(options(command, **more), database=PRODUCTION, now=lambda: NOW)

    return take


def test_the_url_comes_in_the_environment_and_nothing_secret_is_recorded(take: Take) -> None:
    code = (
        "import os; u = os.environ['DATABASE_URL']; print(u); print(u.split(':')[2].split('@')[0]); "
        "print('s@cret/word'); print('point-7')"
    )
    taken = take(python(code))
    assert taken.restore_point == "point-7"
    for secret in ("s@cret/word", "s%40cret%2Fword", "cret"):
        assert secret not in str(taken.as_json())
    assert taken.output.splitlines()[0] == "***"
    assert taken.summary == "external restore point point-7; no restore drill is configured"


def test_a_command_that_fails_is_no_backup(take: Take) -> None:
    with pytest.raises(ExternalBackupFailed, match=r"(?s)exit code 3:.*no space for \*\*\* left"):
        take(python("import sys; print('no space for s@cret/word left'); sys.exit(3)"))
    with pytest.raises(ExternalBackupFailed, match="killed by SIGTERM"):
        take(python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"))
    with pytest.raises(ExternalBackupFailed, match="could not be started: no-such-tool"):
        take("no-such-tool --now")
    for unreadable in ("", "tool 'unclosed"):
        with pytest.raises(ConfigurationError):
            take(unreadable)


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_no_shell_reads_the_command(take: Take, tmp_path: Path) -> None:
    assert take(f"echo a; touch {tmp_path}/x").output == f"a; touch {tmp_path}/x"
    assert not (tmp_path / "x").exists()


def test_a_command_that_hangs_is_ended_with_its_children(take: Take, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = f"""
import pathlib, subprocess, time
child = subprocess.Popen(["sleep", "600"])
print("begun", flush=True)
pathlib.Path({str(begun)!r}).write_text(str(child.pid))
time.sleep(600)
"""
    for timeout_s in (1, 8, 64):  # a busy machine may take longer than the first to begin
        with pytest.raises(ExternalBackupFailed, match=rf"did not end within {timeout_s} s") as ended:
            take(python(code), timeout_s=float(timeout_s))
        if begun.exists() and begun.read_text():
            break
    assert "begun" in str(ended.value)
    wait_until(lambda: not is_running(int(begun.read_text())))


def test_a_daemon_that_it_leaves_behind_does_not_hold_us(take: Take) -> None:
    code = "import subprocess; print('point-%d' % subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    daemon = int(str(take(python(code)).restore_point).removeprefix("point-"))
    assert is_running(daemon)
    os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize(
    ("printed", "days"),
    [("2026-11-01", 21.5), ("drill: 2026-11-21T12:00:00+00:00 ok", 1.0), ("2026-11-22T13:00:00+02:00", 1 / 24)],
)
def test_the_drills_age_is_recorded(take: Take, printed: str, days: float) -> None:
    taken = take("echo point", drill_command=f"echo {printed}")
    assert taken.drill is not None
    assert taken.drill.age_days == pytest.approx(days)
    assert "last restore drill 2026-11-" in taken.summary


def test_an_old_missing_or_future_drill_refuses_before_the_command_runs(take: Take, tmp_path: Path) -> None:
    command = f"touch {tmp_path}/taken"
    with pytest.raises(DrillTooOld, match=r"on 2026-08-01, 114 days ago; at most 90"):
        take(command, drill_command="echo 2026-08-01")
    for printed in ("yesterday", "2026-12-24", "2026-13-45"):
        with pytest.raises(ExternalBackupFailed, match="printed no date"):
            take(command, drill_command=f"echo {printed}")
    with pytest.raises(ExternalBackupFailed, match="drill's command ended with exit code 1"):
        take(command, drill_command="false")
    assert not (tmp_path / "taken").exists()


def test_it_is_recorded_begun_and_ended(home: Home, options: Callable[..., ExternalOptions]) -> None:
    moments = iter(NOW + timedelta(seconds=second) for second in range(20))

    def record(command: str) -> None:
        record_external(
            options(command), database=PRODUCTION, source=IDENTITY, label="prd", ledger=home.ledger,
            now=lambda: next(moments),
        )  # fmt: skip

    record("echo point-9")
    with pytest.raises(ExternalBackupFailed):
        record("false")
    taken, failed = list_backups(home.directory, home.ledger, only=lambda each: each.label == "prd")
    assert (taken.state, failed.state) == (State.TAKEN, State.FAILED)
    assert taken.recorded is not None
    assert taken.recorded.proved is not None
    assert taken.recorded.proved["restore_point"] == "point-9"
    assert taken.recorded.digest is None
    assert "cret" not in str([entry.body for entry in home.ledger.entries()])


@pytest.mark.pg("== 18")
def test_one_that_a_promotion_takes_is_listed(
    home: Home, options: Callable[..., ExternalOptions], database: Conninfo
) -> None:
    policy = RecoverabilityPolicy(environment="uat", directory=home.directory, external=options("echo point-11"))
    (proof,) = secure(database, policy, (EXTERNAL,), ledger=home.ledger, now=lambda: NOW, progress=Silent())
    (listed,) = list_backups(home.directory, home.ledger, only=lambda each: each.label == "uat")
    assert (listed.id, listed.state, listed.policy) == (proof.facts["backup"], State.TAKEN, "external")
    assert proof.facts["restore_point"] == "point-11"
