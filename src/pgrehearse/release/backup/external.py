"""Backups of the team's own system: a command that must succeed, and how long ago somebody restored from one.

pgBackRest, WAL-G, Barman, a platform's branch or snapshot: what it does is its own business.  It gets the database's
address in its environment, never in its arguments, and what it prints is recorded without secrets.
"""

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from pgrehearse.counted import counted
from pgrehearse.errors import ConfigurationError, DrillTooOld, ExternalBackupFailed, PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.secrets import mask, redact
from pgrehearse.postgres.connect import scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.postgres.owner import Owner
from pgrehearse.release.backup.record import BEGUN, FAILED, PROVED, begun_body, new_id

OUTPUT_BYTES = 8192  # of the end of what it printed are recorded
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
DRILL_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalOptions:
    """The team's commands, and what they are run with."""

    command: str
    working_directory: Path
    environment: Mapping[str, str]  # without the database's URL, which is added as ``url_variable``
    url_variable: str = "DATABASE_URL"
    timeout_s: float = 3600.0
    drill_command: str | None = None  # prints the date of the last restore drill
    max_drill_age_days: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """The last time that somebody restored from such a backup."""

    on: datetime
    age: timedelta

    @property
    def age_days(self) -> float:
        return self.age / timedelta(days=1)

    def as_json(self) -> dict[str, Any]:
        return {"on": self.on.isoformat(), "age_days": round(self.age_days, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalBackup:
    """A restore point of the team's own system.  Nobody here restored it: the drill's age says what that is worth."""

    command: str  # without secrets
    restore_point: str | None  # the last line that it printed: its name, by convention
    output: str  # its end, without secrets
    began_at: datetime
    duration_s: float
    drill: Drill | None  # None: no drill is configured

    @property
    def summary(self) -> str:
        """One line for people."""
        drill = "no restore drill is configured"
        if self.drill is not None:
            drill = f"last restore drill {self.drill.on:%Y-%m-%d}, {counted(round(self.drill.age_days), 'day')} ago"
        return f"external restore point {self.restore_point or '(it printed no name)'}; {drill}"

    def as_json(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "restore_point": self.restore_point,
            "output": self.output,
            "began_at": self.began_at.astimezone(UTC).isoformat(),
            "duration_s": round(self.duration_s, 3),
            "drill": None if self.drill is None else self.drill.as_json(),
        }


def take_external(options: ExternalOptions, *, database: Conninfo, now: Callable[[], datetime]) -> ExternalBackup:
    """Look at the last drill, then run the team's command; exit code 0 in time is the only yes.

    Split as a shell splits words, without a shell.  Raises `ExternalBackupFailed` with the end of what it printed,
    `DrillTooOld`; `ConfigurationError` for a command that cannot be split.
    """
    team = _Team.of(options, database)
    drill = None
    if options.drill_command is not None:
        drill = read_drill(options, database=database, now=now())
        if drill.age_days > options.max_drill_age_days:
            raise DrillTooOld(
                f"the last restore drill was on {drill.on:%Y-%m-%d}, {counted(round(drill.age_days), 'day')} ago; "
                f"at most {options.max_drill_age_days:g} are allowed"
            )
    began_at, started = now(), time.monotonic()
    output = _run(options.command, team, options.timeout_s, what="the external backup")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return ExternalBackup(
        command=team.masked(options.command),
        restore_point=lines[-1] if lines else None,
        output=output,
        began_at=began_at,
        duration_s=time.monotonic() - started,
        drill=drill,
    )


def read_drill(options: ExternalOptions, *, database: Conninfo, now: datetime) -> Drill:
    """The first ISO date that the drill's command prints.  Raises `ExternalBackupFailed` for none, or one to come."""
    assert options.drill_command is not None
    team = _Team.of(options, database)
    output = _run(options.drill_command, team, DRILL_TIMEOUT_S, what="the restore drill's command")
    found = ISO_DATE.search(output)
    try:
        on = _as_time(found[0]) if found else None
    except ValueError:
        on = None
    if on is None or on > now + timedelta(days=1):  # a date without a time may be tomorrow's, east of here
        raise ExternalBackupFailed(
            f"the restore drill's command printed no date of a drill: {output.strip()[:200] or 'nothing'}",
            remedy="Let backup.drill_command print the date of the last restore drill as YYYY-MM-DD.",
        )
    return Drill(on=on, age=max(now - on, timedelta(0)))


def record_external(
    options: ExternalOptions,
    *,
    database: Conninfo,
    source: DatabaseIdentity,
    label: str | None,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
) -> tuple[str, ExternalBackup]:
    """`take_external`, begun and ended in the release ledger; its id there, and what was taken."""
    name = new_id(source.database, now())
    begun = begun_body(policy="external", label=label, source=source, owner=Owner.of(os.getpid()))
    ledger.append(BEGUN, name, begun, now())
    try:
        external = take_external(options, database=database, now=now)
    except BaseException as error:
        reason = str(error) if isinstance(error, PgRehearseError) else type(error).__name__
        ledger.append(FAILED, name, {"reason": reason, "kept": None}, now())
        raise
    ledger.append(PROVED, name, {"policy": "external", "digest": None, **external.as_json()}, now())
    return name, external


@dataclass(frozen=True, slots=True, kw_only=True)
class _Team:
    """How one of the team's commands is run, and what must not be recorded of it."""

    cwd: Path
    environment: Mapping[str, str]
    secrets: tuple[str, ...]

    @classmethod
    def of(cls, options: ExternalOptions, database: Conninfo) -> "_Team":
        url = database.as_url()
        environment = {**options.environment, options.url_variable: url}
        secrets = (url, *database.secrets, *(quote(secret, safe="") for secret in database.secrets))
        return cls(cwd=options.working_directory, environment=environment, secrets=secrets)

    def masked(self, text: str) -> str:
        hidden = sorted((secret for secret in self.secrets if secret), key=len, reverse=True)
        return scrub(redact(mask(text, hidden), ""))


def _run(command: str, team: _Team, timeout_s: float, *, what: str) -> str:
    """What it printed, masked.  Ended with all its children when it takes too long."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"{what} cannot be split into words: {error}") from error
    if not words:
        raise ConfigurationError(f"{what} is empty")
    with tempfile.TemporaryFile() as output:  # not a pipe: a daemon that it leaves behind would keep it open
        try:
            process = subprocess.Popen(
                words, cwd=team.cwd, env=dict(team.environment), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ExternalBackupFailed(f"{what} could not be started: {words[0]}: {error.strerror}") from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ExternalBackupFailed(
                f"{what} did not end within {timeout_s:g} s:\n{_tail(output, team)}",
                remedy="Look why it takes so long, or allow longer with backup.external_timeout_s.",
            ) from None
        except BaseException:
            _end(process)
            raise
        printed = _tail(output, team)
    if code != 0:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ExternalBackupFailed(f"{what} {how}:\n{printed}".rstrip(":\n"))
    return printed


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: IO[bytes], team: _Team) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_BYTES))
    return team.masked(output.read().decode(errors="replace").strip())


def _as_time(text: str) -> datetime:
    if len(text) == 10:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), tzinfo=UTC)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
