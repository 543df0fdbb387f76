"""What a migration destroyed comes back as it was; plain SQL is the witness."""

from collections.abc import Callable, Iterator

import pytest

from pgrehearse.postgres.local_server import LocalServer
from tests.support.going_back import GoingBack, going_back

pytestmark = pytest.mark.pg(">= 15")

ORDERS = """
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, price numeric(10, 2), note text);
INSERT INTO orders SELECT i, 'c' || i % 7, i * 1.5, CASE WHEN i % 3 = 0 THEN 'note ' || i END
FROM generate_series(1, 500) i;
"""


@pytest.fixture
def make(server: LocalServer) -> Iterator[Callable[[], GoingBack]]:
    with going_back(server) as maker:
        yield maker


@pytest.fixture
def world(make: Callable[[], GoingBack]) -> GoingBack:
    return make()


ALL_ORDERS = "SELECT id, customer, price, note FROM orders ORDER BY id"


@pytest.mark.parametrize(
    ("migration", "inverse"),
    [
        ("ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders ADD COLUMN note text"),
        ("DELETE FROM orders WHERE id % 5 = 0", ""),
        ("TRUNCATE orders", ""),
        ("UPDATE orders SET price = price * 2", ""),
        ("UPDATE orders SET note = 'x', customer = NULL WHERE id < 100", ""),
        ("UPDATE orders SET note = 'unknown' WHERE note IS NULL", ""),
        (
            "ALTER TABLE orders ALTER COLUMN price TYPE integer",
            "ALTER TABLE orders ALTER COLUMN price TYPE numeric(10, 2)",
        ),
        (
            "DROP TABLE orders",
            "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, price numeric(10, 2), note text)",
        ),
        (
            "DROP TABLE orders; CREATE TABLE orders (id bigint PRIMARY KEY, customer text, price numeric(10, 2), note text);"
            "INSERT INTO orders VALUES (1, 'new', 1, 'new'), (7000, 'new', 1, 'new')",
            "",
        ),
        ("INSERT INTO orders SELECT i, 'seed', i, 'seed' FROM generate_series(1000, 1100) i", ""),
        ("UPDATE orders SET id = -id", ""),
        ("UPDATE orders SET id = id + 10000", ""),
        (
            "ALTER TABLE orders DROP COLUMN note; DELETE FROM orders WHERE id > 400; UPDATE orders SET customer = upper(customer)",
            "ALTER TABLE orders ADD COLUMN note text",
        ),
        (
            "ALTER TABLE orders RENAME TO purchases; ALTER TABLE purchases RENAME price TO cost; UPDATE purchases SET cost = 0",
            "ALTER TABLE purchases RENAME TO orders; ALTER TABLE orders RENAME cost TO price",
        ),
    ],
)
def test_after_going_back_every_row_is_as_it_was(world: GoingBack, migration: str, inverse: str) -> None:
    world.run(ORDERS)
    before = world.rows(ALL_ORDERS)
    world.promote(migration)
    assert world.images
    found = world.go_back(inverse)
    assert world.rows(ALL_ORDERS) == before
    assert found.complete, found
