"""A production with its project folder, what can happen to both, and an oracle that reads them from outside.

The oracle uses plain SQL, `sqlite3`, `hashlib` and the documented formats; nothing of the package that it judges.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from pgrehearse.errors import DatabaseFenced, LeaseHeld, PgRehearseError, RunnerBusy
from pgrehearse.ledger import Entry, ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.project import Project, RehearsalOptions, utc_now
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.releasing import Releasing
from pgrehearse.rolling_back import RollbackOptions, RollingBack

# Every text that the application writes is unique, so that each can be looked for wherever it may have gone.
SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL, legacy text);
CREATE TABLE sessions (id int PRIMARY KEY, customer_id int NOT NULL, label text NOT NULL);
CREATE TABLE notes (id int PRIMARY KEY, body text);
CREATE TABLE prices (id int PRIMARY KEY, amount int);
CREATE TABLE effect_1 (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now());
CREATE TABLE effect_1_after (LIKE effect_1 INCLUDING ALL);
CREATE TABLE effect_2 (LIKE effect_1 INCLUDING ALL);
CREATE TABLE effect_3 (LIKE effect_1 INCLUDING ALL);
CREATE TABLE effect_4 (LIKE effect_1 INCLUDING ALL);
INSERT INTO customers SELECT n, 'email-' || n, 'legacy-' || n FROM generate_series(1, 12) n;
INSERT INTO sessions SELECT n, n, 'label-' || n FROM generate_series(1, 16) n;
INSERT INTO notes SELECT n, 'body-' || n FROM generate_series(1, 6) n;
INSERT INTO prices SELECT n, n FROM generate_series(1, 5) n;
"""
# Each transaction of each migration counts itself, in a table of its own: the way back takes such rows out again.
MIGRATIONS = {
    "0001_nick": """INSERT INTO effect_1 DEFAULT VALUES;
ALTER TABLE customers ADD COLUMN nick text;
CREATE INDEX CONCURRENTLY customers_email ON customers (email);
INSERT INTO effect_1_after DEFAULT VALUES;
""",
    "0002_orphans": """DELETE FROM sessions WHERE customer_id NOT IN (SELECT id FROM customers);
INSERT INTO effect_2 DEFAULT VALUES;
""",
    "0003_stars": """ALTER TABLE notes ADD COLUMN stars int NOT NULL DEFAULT 1;
INSERT INTO effect_3 DEFAULT VALUES;
""",
    "0004_legacy": """UPDATE notes SET body = upper(body) WHERE id <= 3;
ALTER TABLE customers DROP COLUMN legacy;
INSERT INTO effect_4 DEFAULT VALUES;
""",
}
EFFECTS = {
    "0001_nick": ("effect_1", "effect_1_after"),
    "0002_orphans": ("effect_2",),
    "0003_stars": ("effect_3",),
    "0004_legacy": ("effect_4",),
}
# What each destroys, as it stands now; a rehearsal that saw another number of rows does not hold any more.
DOOMED = {
    "0002_orphans": "SELECT label FROM sessions WHERE customer_id NOT IN (SELECT id FROM customers)",
    "0004_legacy": "SELECT body FROM notes WHERE id <= 3",
}
DROPPED_COLUMN = "SELECT to_jsonb(c) ->> 'legacy' FROM customers c WHERE to_jsonb(c) ->> 'legacy' IS NOT NULL"
TEXTS = """
SELECT t, id, key, value FROM (
    SELECT 'customers' t, id, to_jsonb(x) j FROM customers x UNION ALL
    SELECT 'sessions', id, to_jsonb(x) FROM sessions x UNION ALL SELECT 'notes', id, to_jsonb(x) FROM notes x
) every, jsonb_each_text(j) WHERE value ~ '^[a-z]+-[0-9]+$'
"""
DEFAULT = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'customers'::regclass"
COLUMNS = """
SELECT attrelid::regclass::text, attname FROM pg_attribute
WHERE attrelid IN ('customers'::regclass, 'sessions'::regclass, 'notes'::regclass) AND attnum > 0 AND NOT attisdropped
ORDER BY attrelid, attnum
"""
CONFIGURATION = """
[environments.prd]
url_env = "PRD_URL"
env_file = ".env"
protected = true
[environments.uat]
url_env = "UAT_URL"
env_file = ".env"
[migrations]
path = "db"
[backup]
scratch = "uat"
[promotion]
approved_by_another = true
lease_s = 600
max_age_hours = {hours}
"""
REHEARSER = "rita"

Text = tuple[str, int, str, str]  # table, id, column, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended."""

    error: PgRehearseError | None = None
    value: Any = None

    @property
    def name(self) -> str:
        return "done" if self.error is None else type(self.error).__name__

    def __str__(self) -> str:
        return self.name if self.error is None else f"{self.name}: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Production at one moment."""

    oid: int
    recorded: tuple[str, ...]  # in its migration ledger
    effects: Mapping[str, int]  # how often each transaction of each migration was committed
    texts: frozenset[Text]
    doomed: Mapping[str, frozenset[str]]  # version: the texts that it destroys if it runs now
    counted: Mapping[str, int]  # version: how many rows it deletes or updates if it runs now
    default: str | None  # of a column that the plans depend on: the drift
    columns: tuple[str, ...]  # in their order: one that the way back added again is the last of its table

    @property
    def shape(self) -> tuple[object, ...]:
        """Of the table that the plans depend on."""
        return self.default, [column for column in self.columns if column.startswith("customers.")]

    @property
    def half_way(self) -> bool:
        """Whether a part of a migration is committed, and the whole is not."""
        return bool(self.effects["effect_1"]) and "0001_nick" not in self.recorded


def _own(texts: Iterable[str | None]) -> frozenset[str]:
    """Without what migrations themselves have written."""
    return frozenset(text for text in texts if text is not None and re.fullmatch(r"[a-z]+-\d+", text))


def attempt(work: Callable[[], Any]) -> Outcome:
    """What the library gives back or refuses with; anything but its own errors fails the test."""
    try:
        return Outcome(value=work())
    except PgRehearseError as error:
        return Outcome(error=error)


def at_entry(number: int, signal_number: int, *, after: bool, kind: str | None = None) -> Callable[[], None]:
    """The process gets the signal before or after the n-th entry (of that kind) that it writes into the ledger."""
    wanted = kind
    left = number
    original = ReleaseLedger._append

    def append(
        self: ReleaseLedger, kind: str, subject: str, body: Mapping[str, Any], now: datetime, **more: Any
    ) -> Entry | None:
        nonlocal left
        left -= wanted in (None, kind)
        if left == 0 and not after:
            os.kill(os.getpid(), signal_number)
        entry = original(self, kind, subject, body, now, **more)
        if left == 0 and after:
            os.kill(os.getpid(), signal_number)
        return entry

    return lambda: setattr(ReleaseLedger, "_append", append)


class World:
    """One production, which keeps its identity from example to example, and a fresh project folder for each."""

    def __init__(self, production: Conninfo, uat: Conninfo, home: Path) -> None:
        self.production = production
        self._uat = uat
        self._homes = home
        self._number = 0
        self._cached: Mapping[str, Any] | None = None

    # --- the beginning of an example -----------------------------------------------------------------------

    def begin(self) -> None:
        self._number += 1
        self.home = self._homes / f"project_{self._number}"
        (self.home / "db").mkdir(parents=True)
        self.reach(self.production)
        self.configure(hours=24)
        self._first_database_again()
        with self.session() as session:
            for namespace in ("pgrehearse", "pgrehearse_quarantine", "public"):
                session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(namespace)))
            session.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            session.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            session.execute("COMMENT ON SCHEMA public IS 'standard public schema'")
            session.execute(SHOP)

    def _first_database_again(self) -> None:
        """A restore has given production's name to another database: the first one gets it back."""
        name = str(self.production.database)
        with connect(self.production.replaced(dbname="postgres"), verb="test") as admin:
            found = admin.execute(
                "SELECT oid, datname FROM pg_database WHERE datname = %s OR datname LIKE %s ORDER BY oid",
                (name, f"{name}\\_%"),
            ).fetchall()
            for _, other in found[1:]:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))
            first = found[0][1]
            admin.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT -1").format(sql.Identifier(first))
            )
            admin.execute(sql.SQL("COMMENT ON DATABASE {} IS NULL").format(sql.Identifier(first)))
            if first != name:
                admin.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(first), sql.Identifier(name))
                )

    def end(self) -> None:
        """All databases of all examples go."""
        self._first_database_again()
        with connect(self.production.replaced(dbname="postgres"), verb="test") as admin:
            name = sql.Identifier(str(self.production.database))
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def configure(self, *, hours: float) -> None:
        (self.home / "pgrehearse.toml").write_text(CONFIGURATION.format(hours=hours))

    def reach(self, production: Conninfo) -> None:
        """Production by this address from now on: over another line, perhaps."""
        (self.home / ".env").write_text(f'PRD_URL="{production.as_url()}"\nUAT_URL="{self._uat.as_url()}"\n')

    def write_migration(self, version: str, *, more: str = "") -> None:
        (self.home / "db" / f"{version}.sql").write_text(MIGRATIONS[version] + more)

    # --- what people do ------------------------------------------------------------------------------------

    @property
    def releasing(self) -> Releasing:
        return Releasing(project=Project.open(None, start=self.home))

    @property
    def promoting(self) -> Promoting:
        return Promoting(project=Project.open(None, start=self.home))

    @property
    def rolling_back(self) -> RollingBack:
        return RollingBack(project=Project.open(None, start=self.home))

    def rehearse(self, *, as_at_first: bool) -> Outcome:
        """With ``as_at_first`` nothing has changed since the first example's: then its receipt is used again."""
        if as_at_first and self._cached is not None:
            with ReleaseLedger.open(self.ledger) as releases:
                releases.append("receipt", self._cached["digest"], self._cached, utc_now())
            return Outcome(value=self._cached)
        project = Project.open(None, start=self.home)
        outcome = self.as_person(
            REHEARSER, lambda: attempt(lambda: project.rehearse(RehearsalOptions(target="uat")).document)
        )
        if as_at_first and outcome.error is None:
            self._cached = outcome.value
        return outcome

    def as_person(self, who: str, work: Callable[[], Outcome]) -> Outcome:
        before, os.environ["LOGNAME"] = os.environ.get("LOGNAME"), who
        try:
            return work()
        finally:
            if before is None:
                del os.environ["LOGNAME"]
            else:
                os.environ["LOGNAME"] = before

    def approve(self, who: str, digest: str, accept: Iterable[str]) -> Outcome:
        accepted = [f"{name}=agreed" for name in accept]
        return self.as_person(
            who, lambda: attempt(lambda: self.releasing.approve(digest, accept=accepted, remark="yes"))
        )

    def withdraw(self, who: str, digest: str) -> Outcome:
        return self.as_person(who, lambda: attempt(lambda: self.releasing.withdraw(digest, remark="no")))

    def promote(self, digest: str, wait_s: float = 20) -> Any:
        options = PromoteOptions(receipt=digest, wait_s=wait_s, lock_timeout_s=0.5)
        return self.promoting.promote(options, progress=Silent(), tell=lambda _: None)

    def promoted(self, digest: str) -> Any:
        """The same, however long this machine stands still meanwhile."""
        return self.patient(lambda: self.promote(digest))

    def resume(self) -> Any:
        return self.promoting.resume(PromoteOptions(), progress=Silent(), tell=lambda _: None)

    def rollback(self, *, agree: bool, only: str | None = None, progress: Progress | None = None) -> Any:
        return self.rolling_back.rollback(
            RollbackOptions(only=only), progress=progress or Silent(), tell=lambda _: None, agree=lambda _: agree
        )

    def rolled_back_at_last(self) -> Any:
        """As a person would after a killed run: what it left shut is opened first, as the refusal says."""
        try:
            return self.rollback(agree=True)
        except DatabaseFenced:
            self.rolling_back.undo_restore(None, drop=False)
            return self.rollback(agree=True)

    def patiently(self, work: Callable[[], Any]) -> Outcome:
        """What `patient` gives back or raises."""
        return attempt(lambda: self.patient(work))

    def patient(self, work: Callable[[], Any]) -> Any:
        """As a person would: again for as long as a killed run's lease or session stands in the way."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return work()
            except (LeaseHeld, RunnerBusy) as error:
                if time.monotonic() > deadline:
                    raise
                self.let_leases_end() if isinstance(error, LeaseHeld) else time.sleep(0.1)

    def let_leases_end(self) -> None:
        """As time would, which no test waits for: whoever holds one is dead, or stands still."""
        with contextlib.closing(sqlite3.connect(self.ledger, timeout=60)) as file, file:
            file.execute("UPDATE leases SET until = 0")

    # --- processes that are killed, or that run beside each other --------------------------------------------

    def fork(self, work: Callable[[], Any], prepare: Callable[[], None] = lambda: None) -> int:
        """Do it in a child that ``prepare`` has made fragile; its exit code is 1 for one of our errors."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            prepare()
            work()
            code = 0
        except PgRehearseError:
            code = 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def reap(self, pid: int) -> int:
        """Its exit code, or minus the signal; until none of its sessions is left in production."""
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 1, -signal.SIGKILL), code
        deadline = time.monotonic() + 120
        with connect(self.production.replaced(dbname="postgres"), verb="test") as admin:
            while admin.execute(
                "SELECT FROM pg_stat_activity WHERE datname LIKE %s AND application_name LIKE 'pgrehearse:%%'",
                (f"{self.production.database}%",),
            ).fetchone():
                assert time.monotonic() < deadline, "a killed run's session stays"
                time.sleep(0.02)
        return code

    # --- the oracle -----------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Path:
        return self.home / ".pgrehearse/ledger.db"

    def session(self) -> Connection:
        return connect(self.production, verb="test")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.session() as session:
            return session.execute(query.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with self.session() as session:
            session.execute(statement.encode())

    def look(self) -> "Look":
        """What production is now, read without the package."""
        with self.session() as session, session.transaction():

            def ask(query: str) -> list[tuple[Any, ...]]:
                return session.execute(query.encode()).fetchall()

            has_ledger = ask("SELECT to_regclass('pgrehearse.migrations') IS NOT NULL")[0][0]
            counted = {version: [row[0] for row in ask(query)] for version, query in DOOMED.items()}
            doomed = {version: set(texts) for version, texts in counted.items()}
            doomed["0004_legacy"] |= {row[0] for row in ask(DROPPED_COLUMN)}
            return Look(
                oid=ask("SELECT oid::int8 FROM pg_database WHERE datname = current_database()")[0][0],
                recorded=tuple(
                    row[0]
                    for row in (ask("SELECT version FROM pgrehearse.migrations ORDER BY 1") if has_ledger else ())
                ),
                effects={name: len(ask(f"SELECT FROM {name}")) for names in EFFECTS.values() for name in names},
                texts=frozenset((row[0], row[1], row[2], row[3]) for row in ask(TEXTS)),
                doomed={version: _own(texts) for version, texts in doomed.items()},
                counted={version: len(texts) for version, texts in counted.items()},
                default=next((row[0] for row in ask(DEFAULT)), None),
                columns=tuple(f"{row[0]}.{row[1]}" for row in ask(COLUMNS)),
            )

    def reported(self) -> str:
        """Everything that stands in quarantine tables and exported files."""
        found = []
        for (name,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'pgrehearse_quarantine'"):
            found += [row[0] for row in self.rows(f'SELECT x::text FROM pgrehearse_quarantine."{name}" x')]
        for path in (self.home / ".pgrehearse/rollbacks").rglob("*.csv"):
            found.append(path.read_text())
        return "\n".join(found)

    def entries(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Kind, subject and body of each; the chain is computed again on the way, as its format is documented."""
        if not self.ledger.is_file():
            return []
        previous, found = "", []
        with sqlite3.connect(self.ledger) as file:
            kept = file.execute("SELECT at, kind, subject, body, digest FROM entries ORDER BY seq").fetchall()
        file.close()
        for at, kind, subject, body, digest in kept:
            text = json.dumps(
                ["pgrehearse-ledger-1", previous, at, kind, subject, body], ensure_ascii=True, separators=(",", ":")
            )
            previous = hashlib.sha256(text.encode()).hexdigest()
            assert previous == digest, "the release ledger's chain is broken"
            found.append((kind, subject, json.loads(body)))
        return found
