"""Traffic that somebody wrote: a script that pgbench runs beside the plan, on a clone that is thrown away."""

import contextlib
import re
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pgrehearse.errors import MissingBinaries
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.child_process import start_child
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.contention import TrafficError, TrafficFigures, TrafficKind
from pgrehearse.rehearsal.contention_traffic import DEADLOCK, percentile

COUNTS_FAILURES_SINCE = 15  # --failures-detailed; before it a deadlock ends the client
SERIALIZATION = "40001"
FAILURES = {
    "deadlock": (DEADLOCK, "deadlock detected"),
    "serialization": (SERIALIZATION, "could not serialize access"),
}
_ABORTED = re.compile(r"aborted in command .*?: (?:ERROR|FATAL):\s+(.*)")
_SAID = re.compile(r"^pgbench: (?:error|fatal): (.*)", re.MULTILINE)
END_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRun:
    """How a script is to be run."""

    script: Path
    clients: int
    per_second: float  # transactions of all clients
    seconds: int  # for so long new ones are begun


class ScriptTraffic:
    """pgbench, while the context is open.  `finish` waits for it; leaving the context ends it.

    A transaction has its turn at a fixed rate, and what it waited for its turn counts (``pgbench --rate``).
    ``problem`` says why there is none.
    """

    def __init__(self, run: ScriptRun, database: Conninfo, *, server_major: int) -> None:
        self._run = run
        self._database = database
        self._server_major = server_major
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="pgrehearse-script-")
        self.problem: str | None = None

    def __enter__(self) -> "ScriptTraffic":
        try:
            self._start()
        except BaseException:
            self._directory.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()

    def _start(self) -> None:
        try:
            binaries = require_client(self._server_major)
        except MissingBinaries as error:
            self.problem = str(error)
            return
        program = binaries.directory / "pgbench"
        if not program.is_file():
            self.problem = f"PostgreSQL {binaries.major} is installed here without pgbench"
            return
        address, environment = self._database.for_child()
        detailed = ("--failures-detailed",) if binaries.major >= COUNTS_FAILURES_SINCE else ()
        with self._said.open("wb") as output:
            self._process = start_child(
                [
                    str(program), "--no-vacuum", f"--file={self._run.script}", f"--client={self._run.clients}",
                    "--jobs=1", f"--time={self._run.seconds}", f"--rate={self._run.per_second:g}", "--log",
                    f"--log-prefix={self._directory.name}/log", *detailed, address,
                ],
                environment=environment | {"LC_ALL": "C", "PGAPPNAME": "pgrehearse:traffic"},
                output=output,
                dies_with_us=signal.SIGKILL,
                only_stderr=True,
            )  # fmt: skip

    @property
    def name(self) -> str:
        return self._run.script.name

    @property
    def _said(self) -> Path:
        return Path(self._directory.name) / "said"

    def finish(self, *, at_most_s: float) -> None:
        """Wait until its last transactions are answered."""
        if self._process is None:
            return
        try:
            code = self._process.wait(at_most_s)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            self.problem = "it did not end, and what it had not written down is lost"
            return
        if code != 0 and not any(self._transactions()):
            said = _SAID.search(self._said.read_text("utf-8", errors="replace"))
            self.problem = said[1] if said is not None else f"pgbench ended with exit code {code}"

    def figures(self, *, begun_at: float, ended_at: float) -> TrafficFigures:
        """The plan ran between these two of the wall clock, in seconds since 1970.  After `finish`."""
        done = list(self._transactions())
        during = [each for each in done if each.ended_at >= begun_at and each.begun_at <= ended_at]
        return TrafficFigures(
            what=self._run.script.name,
            kind=TrafficKind.SCRIPT,
            sent=len(during),
            longest_ms=max((each.took_ms for each in during if each.took_ms is not None), default=None),
            p99_before_ms=_percentile([each for each in done if each.ended_at < begun_at]),
            p99_ms=_percentile(during),
            errors=tuple(self._errors(done)),
        )

    def _transactions(self) -> "Iterator[_Transaction]":
        for log in sorted(Path(self._directory.name).glob("log.*")):
            for line in log.read_text("ascii").splitlines():
                if (read := _read_line(line)) is not None:
                    yield read

    def _errors(self, done: "Sequence[_Transaction]") -> Iterator[TrafficError]:
        for failure, count in Counter(each.failure for each in done if each.failure is not None).items():
            sqlstate, message = FAILURES.get(failure, ("", failure))
            yield TrafficError(sqlstate=sqlstate, message=message, count=count)
        said = self._said.read_text("utf-8", errors="replace") if self._said.exists() else ""
        for message, count in Counter(_ABORTED.findall(said)).items():
            yield TrafficError(sqlstate="", message=message, count=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transaction:
    begun_at: float
    ended_at: float
    took_ms: float | None  # None: it failed
    failure: str | None


def _read_line(line: str) -> _Transaction | None:
    """Client, number, microseconds or how it failed, script, second and microsecond when it ended, lag."""
    parts = line.split()
    if len(parts) < 6:
        return None  # a line that was cut off
    ended_at = int(parts[4]) + int(parts[5]) / 1e6
    took_ms = float(parts[2]) / 1000 if parts[2].isdigit() else None
    return _Transaction(
        begun_at=ended_at - (took_ms or 0.0) / 1000,
        ended_at=ended_at,
        took_ms=took_ms,
        failure=None if took_ms is not None else parts[2],
    )


def _percentile(done: "Sequence[_Transaction]") -> float | None:
    return percentile([each.took_ms for each in done if each.took_ms is not None])
