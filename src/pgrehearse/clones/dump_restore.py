"""Copy one database to another server: pg_dump in directory format, then pg_restore, both in parallel."""

import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pgrehearse.errors import CloneFailed, PgRehearseError, ServerUnreachable, SourceUnreadable
from pgrehearse.postgres.binaries import Binaries
from pgrehearse.postgres.child_process import start_child
from pgrehearse.postgres.connect import NO_CONNECTION_LEFT, connect, scrub
from pgrehearse.postgres.conninfo import Conninfo

LOCK_WAIT_MS = 60_000  # how long pg_dump waits for a table that a migration on the source holds
STOP_TIMEOUT_S = 15
INDEXES_OF = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('i', 'I')
  AND pg_catalog.concat_ws(' ', n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner)) = ANY (%s)
"""


class ChildProgram:
    """A running pg_dump or pg_restore.  Context manager: leaving it early ends the program and its workers.

    The password travels in its environment, never in its arguments.  It dies with us (Linux).
    """

    def __init__(self, arguments: list[str], *, conninfo: Conninfo, log: Path) -> None:
        address, environment = conninfo.for_child()
        environment |= {"LC_ALL": "C", "PGCONNECT_TIMEOUT": environment.get("PGCONNECT_TIMEOUT", "10")}
        self._conninfo = conninfo
        self._log = log
        self.name = Path(arguments[0]).name
        log.touch(mode=0o600)  # an error of pg_restore quotes its statement
        with log.open("wb") as stderr:
            self._process = start_child(
                [*arguments, f"--dbname={address}"],
                environment=environment,
                output=stderr,
                only_stderr=True,
                dies_with_us=signal.SIGTERM,  # it then cancels its queries and ends its workers
            )

    def __enter__(self) -> "ChildProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait for its end; raises what its stderr says when it failed."""
        code = self._process.wait()
        if code != 0:
            raise failure_of(self.name, self._log.read_text(errors="replace"), code, self._conninfo)

    def stop(self) -> None:
        """SIGTERM makes pg_dump and pg_restore cancel their queries and end their workers."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_dump(
    binaries: Binaries,
    source: Conninfo,
    *,
    snapshot: str,
    directory: Path,
    jobs: int,
    compress: bool,
    log: Path,
    subscriptions: bool = False,
) -> ChildProgram:
    """Start `pg_dump -Fd` of the snapshot into ``directory`` (which must not exist).

    Holds ACCESS SHARE on every table until it ends.  Not compressed unless asked: gzip costs five times
    what writing does.  Subscriptions are left out unless asked for (a backup is whole): a clone that subscribes
    would take changes that are meant for production's subscriber.  So is the quarantine namespace of before-images.
    """
    arguments = [
        binaries.program("pg_dump"), "--format=directory", f"--jobs={jobs}", f"--snapshot={snapshot}",
        f"--file={directory}", f"--compress={1 if compress else 0}", "--no-sync", "--no-password",
        f"--lock-wait-timeout={LOCK_WAIT_MS}", *(() if subscriptions else ("--no-subscriptions",)),
        # What earlier migrations destroyed, kept to put it back: for its owner's eyes, and nothing to rehearse on.
        *(() if subscriptions else ("--exclude-schema=pgrehearse_quarantine",)),
    ]  # fmt: skip
    return ChildProgram(arguments, conninfo=source, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsEntry:
    """One line of a dump's table of contents."""

    line: str
    number: int  # within the dump
    kind: str  # "TABLE DATA", "USER MAPPING", "MATERIALIZED VIEW DATA" …
    rest: str  # namespace, name and owner, with a space between each


# dumpId; catalog oid, oid, kind (words in capitals), namespace or -, the rest
_ENTRY = re.compile(r"^(?P<number>\d+); \d+ \d+ (?P<kind>[A-Z]+(?: [A-Z]+)*) (?P<rest>.*)$")


def read_contents(binaries: Binaries, directory: Path, *, section: str | None = None) -> tuple[ContentsEntry, ...]:
    """The dump's table of contents in its order; of one ``section``, as the whole dump has it."""
    arguments = [binaries.program("pg_restore"), "--list", *((f"--section={section}",) if section else ())]
    done = subprocess.run(
        [*arguments, str(directory)], capture_output=True, text=True, check=False, errors="surrogateescape",
        env={"LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode != 0:
        raise CloneFailed(f"pg_restore cannot read the dump: {done.stderr.strip()}")
    matches = [(line, _ENTRY.match(line)) for line in done.stdout.splitlines()]
    return tuple(
        ContentsEntry(line=line, number=int(match["number"]), kind=match["kind"], rest=match["rest"])
        for line, match in matches
        if match
    )


def entries_told(word: str, stderr: str) -> frozenset[int]:
    """The numbers of the entries of which a verbose, parallel pg_restore said ``word`` ("launching", "finished").

    A message is written in pieces, "pg_restore:", " ", and the rest with the line's end, and all its workers write to
    one stderr: any number of beginnings may stand before a rest, or none.
    """
    found = re.findall(rf"^(?:pg_restore:|error:|warning:| )*{word} item (\d+) ", stderr, re.MULTILINE)
    return frozenset(int(number) for number in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """A dump that is restored into a database, section by section."""

    binaries: Binaries
    target: Conninfo
    dump: Path
    contents: tuple[ContentsEntry, ...]
    jobs: int
    logs: Path  # a directory
    tablespaces: bool = False  # another server's disks are laid out otherwise

    def definitions(self, keep: Callable[[ContentsEntry], bool]) -> None:
        """What rows go into.  The first error ends it."""
        self._run("pre-data", keep, jobs=1)

    def rows_and_indexes(self, keep: Callable[[ContentsEntry], bool]) -> None:
        """The rows, then indexes, constraints and the rest, in parallel.

        pg_restore's workers take locks that it does not know of (on a foreign key's partitions, on what a policy
        reads), so one of them may become a deadlock's victim; or they run out of shared memory together.  What was
        not made of indexes and the like is therefore tried once more, one by one, whatever the reason: the server
        tells it in its own language.  Then, as among the rows, the first error ends it.
        """
        self._run("data", keep, jobs=self.jobs)
        try:
            self._run("post-data", keep, jobs=self.jobs)
        except PgRehearseError:
            made = self._told("finished")
            # An entry that was under way may be there: it has nothing that depends on it yet, and is made anew.
            self._drop_indexes(self._told("launching") - made)
            left = {each.number for each in read_contents(self.binaries, self.dump, section="post-data")} - made
            self._run("post-data", lambda entry: entry.number in left and keep(entry), jobs=1, anew=True)

    def _run(self, section: str, keep: Callable[[ContentsEntry], bool], *, jobs: int, anew: bool = False) -> None:
        """``anew``: what is kept is all of that section.

        A comment has no section of its own: pg_restore takes it for that of what stands before it in the list, and
        would leave it out where that is made already.
        """
        log = self._log(section)
        chosen = log.with_suffix(".list")
        text = "".join(f"{entry.line}\n" for entry in self.contents if keep(entry))
        chosen.write_bytes(text.encode(errors="surrogateescape"))
        arguments = [
            self.binaries.program("pg_restore"), "--format=directory", f"--jobs={jobs}", "--exit-on-error",
            "--no-password", *(() if anew else (f"--section={section}",)), f"--use-list={chosen}",
            *(("--verbose",) if section == "post-data" else ()),  # tells what is finished
            *(("--clean", "--if-exists") if anew else ()),
            *(() if self.tablespaces else ("--no-tablespaces",)), str(self.dump),
        ]  # fmt: skip
        with ChildProgram(arguments, conninfo=self.target, log=log) as program:
            program.wait()

    def _told(self, word: str) -> frozenset[int]:
        """The numbers of the entries that a parallel pg_restore says it is ``launching``, or has ``finished``."""
        return entries_told(word, self._log("post-data").read_text(errors="replace"))

    def _drop_indexes(self, numbers: frozenset[int]) -> None:
        """Of these entries; ``--clean`` leaves a partition's index to its parent's DROP."""
        entries = [entry.rest for entry in self.contents if entry.number in numbers and entry.kind == "INDEX"]
        with connect(self.target, verb="restore") as session:
            for namespace, name in session.execute(INDEXES_OF, (entries,)).fetchall():
                session.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(namespace, name)))

    def _log(self, section: str) -> Path:
        return self.logs / f"pg_restore-{section}.log"


# What a program's stderr says -> the error and its remedy, in the order in which they are looked for.
_KNOWN: tuple[tuple[str, type[PgRehearseError], str | None], ...] = (
    (r"row-level security", SourceUnreadable,
     "Copy as a superuser, the tables' owner or a role with BYPASSRLS: row-level security would hide rows."),
    (r"No space left on device|could not extend file|could not write .*: Disk quota", CloneFailed,
     "Free disk space, or name another directory with clone.directory, then run again; the copy was dropped."),
    (r"permission denied|may lack SELECT privilege", SourceUnreadable, None),  # the latter of a sequence, since 18
    (r"conflict with recovery", CloneFailed,
     "The replica cancelled the copy to keep up with its primary: raise max_standby_streaming_delay "
     "or set hot_standby_feedback = on, or copy from the primary."),
    (r"invalid memory alloc request size|Cannot enlarge string buffer|string buffer exceeds", CloneFailed,
     "A row of that table is longer than 1 GB as text (bytea counts twice), and PostgreSQL prints none beyond: split "
     "its values, or keep them as large objects, which are dumped in pieces."),
    (r"out of shared memory|max_locks_per_transaction", CloneFailed,
     "Raise max_locks_per_transaction on that server (it needs a restart): pg_dump locks every table at once."),
    (r"lock timeout|could not obtain lock", CloneFailed,
     "Somebody holds a lock on that table; wait until it is released and run again."),
    (r"role \"?.*\"? does not exist", CloneFailed, "Create the role on the target, or set clone.create_roles = true."),
    (r"could not access file|could not open extension control file|is not available", CloneFailed,
     "Install the extension's package on the target server, or leave --target away."),
    (r"database .* does not exist|terminating connection|server closed the connection|connection to server was lost",
     CloneFailed, "The server ended the copy's sessions (restart, DROP DATABASE … FORCE?).  Check it, then run again."),
    (r"too many connections|connection slots", ServerUnreachable, NO_CONNECTION_LEFT),
    (r"connection to server .* failed", ServerUnreachable, None),
)  # fmt: skip


def failure_of(name: str, stderr: str, code: int, *conninfos: Conninfo) -> PgRehearseError:
    """The error that a failed program's stderr tells, without the statement (it may hold a password)."""
    lines = scrub(_without_statements(stderr), *conninfos).splitlines()
    errors = [line for line in lines if " error:" in line or "ERROR:" in line or "FATAL:" in line] or [
        line for line in lines if not line.startswith(f"{name}: ")
    ][-3:]
    told = re.sub(rf"^{name}: (?:error: )?", "", errors[0]) if errors else f"it ended with code {code}"
    told = told.replace("could not execute query: ", "")
    if code < 0:
        told = f"killed by {signal.Signals(-code).name}" + (f" ({told})" if errors else "")
    details = [line for line in lines if line.startswith(("DETAIL:", "HINT:")) or "detail:" in line][:2]
    message = "\n".join([f"{name} of {', '.join(map(str, conninfos))} failed: {told}", *details])
    for pattern, kind, remedy in _KNOWN:
        if re.search(pattern, "\n".join(errors + details), re.IGNORECASE):
            return kind(message, remedy=remedy)
    return CloneFailed(message)


def _without_statements(stderr: str) -> str:
    """pg_restore prints the failed statement after "Command was:", over as many lines as it has."""
    kept: list[str] = []
    inside = False
    for line in stderr.splitlines():
        if re.match(r"pg_\w+: ", line):
            inside = False
        if line.startswith(("Command was:", "STATEMENT:")) or "Command was:" in line:
            inside = True
        if not inside:
            kept.append(line)
    return "\n".join(kept)
