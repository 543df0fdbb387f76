"""The real drizzle-kit, 0.31 and 1.0, as `make drizzle-peers` installs it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.observer import Observer
from pgrehearse.migrations.sources import Source
from pgrehearse.migrations.sources.find import open_source
from pgrehearse.migrations.status import Status, read_status
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

PEERS = Path(__file__).parents[2] / ".peers"
VERSIONS = ("031", "10")
TIMEOUT_S = 240

CONFIG = """
export default {
  dialect: "postgresql",
  schema: "./schema.ts",
  out: "./drizzle",
  dbCredentials: { url: process.env.DATABASE_URL ?? "postgres://nobody@127.0.0.1/nothing" },
};
"""
# What three developers' days look like: tables and an enum, a table with keys and an index, a column more.
SCHEMAS = (
    """
import { index, integer, pgEnum, pgTable, serial, text, timestamp } from "drizzle-orm/pg-core";
export const status = pgEnum("status", ["new", "paid"]);
export const users = pgTable("users", { id: serial().primaryKey(), email: text().notNull().unique() });
""",
    """
export const orders = pgTable("orders", {
  id: serial().primaryKey(),
  userId: integer("user_id").notNull().references(() => users.id),
  state: status().notNull().default("new"),
  placedAt: timestamp("placed at").defaultNow(),
}, (table) => [index("orders_by_user").on(table.userId)]);
""",
    """
export const notes = pgTable("Notes", { id: integer().primaryKey(), text: text().default("it's") });
""",
)


def missing() -> str | None:
    """Why the drizzle tests cannot run here; None when they can."""
    if not all((PEERS / version / ".ready").exists() for version in VERSIONS):
        return "drizzle-kit is not installed here: `make drizzle-peers` (needs npm)"
    if shutil.which("node") is None:
        return "node is not installed here"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrizzleKit:
    """A project folder with a schema, a config and one version of drizzle-kit."""

    version: str  # "031" or "10"
    directory: Path

    @classmethod
    def create(cls, version: str, directory: Path) -> "DrizzleKit":
        """An empty project."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "drizzle.config.ts").write_text(CONFIG)
        (directory / "schema.ts").write_text("")
        (directory / "node_modules").symlink_to(PEERS / version / "node_modules")
        return cls(version=version, directory=directory)

    def copied(self, directory: Path) -> "DrizzleKit":
        """The same project in another folder."""
        shutil.copytree(self.directory, directory, symlinks=True)
        return DrizzleKit(version=self.version, directory=directory)

    @property
    def migrations(self) -> Path:
        return self.directory / "drizzle"

    @property
    def source(self) -> Source:
        """The project's migrations as we read them now."""
        return open_source(self.migrations, display="drizzle")

    def files(self) -> list[Path]:
        """The SQL files in drizzle's order."""
        if self.version == "031":
            return sorted(self.migrations.glob("*.sql"))
        return sorted(self.migrations.glob("*/migration.sql"))

    def extend_schema(self, text: str) -> None:
        with (self.directory / "schema.ts").open("a") as schema:
            schema.write(text)

    def generate(self, name: str) -> str:
        """`drizzle-kit generate`; its output."""
        return self.run("generate", "--name", name).stdout

    def add_custom(self, name: str, sql: str) -> Path:
        """`drizzle-kit generate --custom`, filled with this SQL."""
        self.run("generate", "--custom", "--name", name)
        file = next(file for file in self.files() if name in str(file.relative_to(self.migrations)))
        file.write_text(sql)
        return file

    def migrate(self, database: Conninfo, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("migrate", database=database, check=check)

    def start_migrate(self, database: Conninfo) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command("migrate"),
            cwd=self.directory,
            env=_environment(database),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self, *arguments: str, database: Conninfo | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(*arguments),
            cwd=self.directory,
            env=_environment(database),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def run_script(self, script: str, *, database: Conninfo) -> subprocess.CompletedProcess[str]:
        """An ES module of ours beside the project's node_modules."""
        file = self.directory / "script.mjs"
        file.write_text(script)
        return subprocess.run(
            ["node", str(file)],
            cwd=self.directory,
            env=_environment(database),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def _command(self, *arguments: str) -> list[str]:
        return ["node", "node_modules/drizzle-kit/bin.cjs", *arguments]


def node_url(conninfo: Conninfo) -> str:
    """The address as node-postgres reads it: a socket directory travels as the parameter `host`."""
    given = conninfo.parameters
    user, password = quote(given["user"], safe=""), quote(given["password"], safe="")
    return f"postgres://{user}:{password}@/{quote(given['dbname'])}?host={quote(given['host'], safe='/')}"


def read(database: Conninfo, kit: DrizzleKit) -> Status:
    """What `pgrehearse status` says."""
    with connect(database, verb="status") as session:
        return read_status(session, kit.source)


def apply_pending(
    database: Conninfo,
    kit: DrizzleKit,
    *,
    observer: Observer | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """What `pgrehearse migrate` does: everything that is not applied."""

    def sessions(verb: str) -> Connection:
        return connect(database, verb=verb)

    apply(sessions, read(database, kit).pending, ledger=kit.source.ledger, observer=observer, tell=tell)


def dump(database: Conninfo, major: int) -> str:
    """The database's schema and rows as `pg_dump` writes them, without its random key and our own namespace."""
    text, environment = database.for_child()
    done = subprocess.run(
        [require_client(major).program("pg_dump"), "--inserts", "--exclude-schema=pgrehearse", text],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def _environment(database: Conninfo | None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"CI": "1", "NO_COLOR": "1"}
    return kept | ({"DATABASE_URL": node_url(database)} if database else {})
