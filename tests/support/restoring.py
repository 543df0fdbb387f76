"""A shop, what its application and a migration write to it, and what stands in it afterwards."""

import subprocess
from pathlib import Path

from tests.support.dumps import dump_text

from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

SHOP = (Path(__file__).parents[1] / "release" / "restore" / "shop.sql").read_text()

# 3,000 inserts, 2,000 updates and 500 deletes of the application, a part of each before the migration.
WRITES_BEFORE = """
INSERT INTO orders (customer, total) SELECT i % 1000 + 1, 5 FROM generate_series(1, 1000) AS i;
UPDATE orders SET state = 'paid' WHERE id BETWEEN 1 AND 500;
DELETE FROM orders WHERE id BETWEEN 7001 AND 7100;
INSERT INTO prices VALUES (1001, 7);
"""
WRITES_AFTER = """
INSERT INTO orders (customer, total, state) SELECT i % 1000 + 1, 6, NULL FROM generate_series(1, 2000) AS i;
UPDATE orders SET state = E'sent\\n''x'' \\\\' , total = total + 1 WHERE id BETWEEN 501 AND 2000;
DELETE FROM orders WHERE id BETWEEN 7101 AND 7500;
"""
# Of a known kind each: a backfill, a deletion, rows of its own, columns, tables.
MIGRATION = """
ALTER TABLE customers ADD COLUMN rank int NOT NULL DEFAULT 3;
ALTER TABLE options RENAME TO knobs;
ALTER TABLE knobs RENAME COLUMN value TO setting;
UPDATE prices SET cents = cents * 100;
DELETE FROM leftovers WHERE id <= 30;
INSERT INTO knobs VALUES ('size', 'XL');
CREATE TABLE brand_new (id int PRIMARY KEY, what text);
INSERT INTO brand_new VALUES (1, 'by the migration');
INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('second', 2);
"""


def run(database: Conninfo, script: str) -> None:
    """One transaction, as psql would."""
    with connect(database, verb="application") as session, session.transaction():
        session.execute(script.encode())


def rows(session: Connection, query: str) -> list[tuple[object, ...]]:
    return session.execute(query.encode()).fetchall()


def psql(database: Conninfo, file: Path, major: int) -> None:
    """psql itself reads the file; the first error fails."""
    address, environment = database.for_child()
    subprocess.run(
        [require_client(major).program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", address, "-f", str(file)],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip


def content(database: Conninfo) -> str:
    """Every row, as pg_dump prints it, in an order that does not depend on where rows stand; no sequences."""
    text = dump_text(database, "--data-only", "--inserts", "--exclude-schema=drizzle")
    return "\n".join(sorted(line for line in text.splitlines() if "pg_catalog.setval" not in line))
