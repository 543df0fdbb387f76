"""A project folder with two migrations, its production and its UAT, and the program itself."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.program import run_program

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL DEFAULT '', age int);
INSERT INTO users SELECT n, 'u' || n, n % 90 FROM generate_series(1, 500) n;
CREATE TABLE sessions (id int PRIMARY KEY, user_id int NOT NULL);
INSERT INTO sessions SELECT n, n FROM generate_series(1, 300) n;
"""
CONFIGURATION = """
[environments.prd]
url_env = "PRD_URL"
protected = true
[environments.uat]
url_env = "UAT_URL"
[migrations]
path = "db"
[rehearsal]
contention = "off"
[backup]
scratch = "uat"
"""
FIRST = "ALTER TABLE users ADD COLUMN nick text;\n"
SECOND = "CREATE UNIQUE INDEX users_email ON users (email);\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A folder with two migrations, production, and UAT."""

    folder: Path
    production: Conninfo
    uat: Conninfo

    def pgrehearse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        urls = {"PRD_URL": self.production.as_url(), "UAT_URL": self.uat.as_url()}
        return run_program(*arguments, cwd=self.folder, env={**os.environ, **urls})

    def run(self) -> str:
        """Rehearse; the receipt's digest."""
        done = self.pgrehearse("run", "--target", "uat", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return str(json.loads(done.stdout)["digest"])

    def execute(self, statement: str) -> None:
        with connect(self.production, verb="test") as session:
            session.execute(statement.encode())


def make_shop(folder: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    """Production filled, the folder written, nothing applied."""
    connection.execute(SHOP.encode())
    (folder / "db").mkdir()
    (folder / "db/0001_nick.sql").write_text(FIRST)
    (folder / "db/0002_email.sql").write_text(SECOND)
    (folder / "pgrehearse.toml").write_text(CONFIGURATION)
    return Shop(folder=folder, production=database, uat=uat.conninfo())
