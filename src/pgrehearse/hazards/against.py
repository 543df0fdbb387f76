"""The model of a real database: what `lint --against` judges files by, instead of by their text alone.

Everything is read by one read-only transaction at one instant, one round trip for each kind of thing, as whatever
role the address names: an ordinary one sees the catalogs too.  What it may not read of the data is "not known".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.errors import SchemaUnreadable
from pgrehearse.hazards.catalog_relations import fill_relations
from pgrehearse.hazards.catalog_types import read_functions, read_types
from pgrehearse.hazards.data_questions import DataQuestions
from pgrehearse.hazards.model import Model, Relation, RelationKind
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.named_queries import named_queries

LOCK_TIMEOUT_MS = (
    1_000  # reading an expression or a size waits behind a running ALTER TABLE; others would wait behind us
)
STATEMENT_TIMEOUT_MS = 60_000
LOOKED_INTO_BYTES = 8 * 1024 * 1024  # a larger table is looked into only when a rule asks
EMPTY_CHUNK = 100  # tables in one question
EMPTY_TIMEOUT_MS = 500
QUERIES = named_queries(__file__)


@contextmanager
def open_model(conninfo: Conninfo) -> Iterator[Model]:
    """The database's model; it may ask the database more for as long as the context lasts (`Model.data`).

    Read-only: fine for a protected environment.  Raises `ServerUnreachable` (exit 4) and `SchemaUnreadable` (exit 3).
    """
    with connect(conninfo, verb="lint") as connection:
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
        try:
            with connection.transaction():
                model = read_catalog(connection)
        except psycopg.Error as error:
            raise SchemaUnreadable(
                f"the catalogs of {conninfo.address} could not be read: {error.diag.message_primary}"
            ) from error
        yield model


def read_catalog(connection: Connection, *, freshly_restored: bool = False) -> Model:
    """The model, within the caller's transaction.  Cost: some 20 queries, and one for each
    hundred small tables; 3 to 6 s for 2,000 tables on a busy machine.

    `freshly_restored`: nobody has written there since COPY did, so what has a file has rows, and is not looked into.
    Locks: ACCESS SHARE on tables, until the caller's transaction ends, each waited for at most a second.
    """
    with connection.transaction():
        _set(connection, lock_timeout=LOCK_TIMEOUT_MS, statement_timeout=STATEMENT_TIMEOUT_MS)
        major, timezone, search_path = _row(connection, "session")
        model = Model(complete=True, server_major=major, timezone=timezone, search_path=tuple(search_path))
        model.namespaces = {name: None for (name,) in rows(connection, "namespaces")}
        model.roles = {name for (name,) in rows(connection, "roles")}
        (model.sequences_granted_by_default,) = _row(connection, "sequence_default_privileges")
        by_oid = fill_relations(model, lambda name: rows(connection, name))
        model.types = read_types(rows(connection, "types"), rows(connection, "constraints"))
        model.builtin_functions = frozenset(name for (name,) in rows(connection, "builtin_functions"))
        model.functions = read_functions(rows(connection, "functions"))
        model.type_names = {name for (name,) in rows(connection, "type_names")}
        model.available_extensions = frozenset(name for (name,) in rows(connection, "available_extensions"))
    _measure(connection, model, by_oid, freshly_restored=freshly_restored)
    model.data = DataQuestions(connection)
    return model


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """All rows of one of this module's queries."""
    return connection.execute(QUERIES[query]).fetchall()


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    (row,) = rows(connection, query)
    return row


def _set(connection: Connection, **settings: int) -> None:
    for name, value in settings.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, str(value)))


# --- sizes and emptiness -------------------------------------------------------------------------------


def _measure(connection: Connection, model: Model, by_oid: dict[int, Relation], *, freshly_restored: bool) -> None:
    """Sizes and emptiness; where a lock or a right is in the way, they stay not known."""
    try:
        with connection.transaction():
            _set(connection, lock_timeout=LOCK_TIMEOUT_MS)
            sizes = rows(connection, "sizes")
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege, psycopg.errors.QueryCanceled):
        return
    small: list[int] = []
    for oid, total, heap in sizes:
        relation = by_oid.get(oid)
        if relation is None or total is None:  # dropped meanwhile
            continue
        relation.size_bytes = total
        if heap == 0:
            relation.is_empty, relation.rows = True, 0
        elif freshly_restored:
            relation.is_empty = False
        elif heap <= LOOKED_INTO_BYTES:
            small.append(oid)
    may = [oid for (oid,) in connection.execute(QUERIES["may_be_counted"], (small,))]
    for first in range(0, len(may), EMPTY_CHUNK):
        _look_into(connection, [by_oid[oid] for oid in may[first : first + EMPTY_CHUNK]])
    sum_up_partitions(model)


def _look_into(connection: Connection, relations: Sequence[Relation]) -> None:
    """Which of these tables hold no row.  A heap full of dead rows takes long: then it is not known."""
    questions = [
        sql.SQL("EXISTS (SELECT FROM ONLY {})").format(
            sql.Identifier(relation.name.namespace or "", relation.name.name)
        )
        for relation in relations
    ]
    try:
        with connection.transaction():
            _set(connection, lock_timeout=LOCK_TIMEOUT_MS, statement_timeout=EMPTY_TIMEOUT_MS)
            query = sql.SQL("SELECT ARRAY[{}]").format(sql.SQL(", ").join(questions))
            (answers,) = connection.execute(query).fetchall()[0]
    except psycopg.Error:
        if len(relations) > 1:
            for relation in relations:
                _look_into(connection, [relation])
        return
    for relation, holds_rows in zip(relations, answers, strict=True):
        relation.is_empty = not holds_rows


def sum_up_partitions(model: Model) -> None:
    """A partitioned table is what its leaves are.  Cost: all relations."""
    for relation in model.relations.values():
        if relation.kind is RelationKind.PARTITIONED:
            _sum_up(model, relation)


def _sum_up(model: Model, parent: Relation) -> None:
    leaves = list(_leaves(model, parent))
    sizes = [leaf.size_bytes for leaf in leaves]
    parent.size_bytes = None if None in sizes else sum(size for size in sizes if size is not None)
    if any(leaf.is_empty is False for leaf in leaves):
        parent.is_empty = False
    elif all(leaf.is_empty for leaf in leaves):
        parent.is_empty = True
    counts = [leaf.rows for leaf in leaves]
    if None not in counts:
        parent.rows = sum(count for count in counts if count is not None)


def _leaves(model: Model, parent: Relation) -> Iterator[Relation]:
    for name in parent.partitions:
        partition = model.relations.get(name)
        if partition is None:
            continue
        if partition.kind is RelationKind.PARTITIONED:
            yield from _leaves(model, partition)
        else:
            yield partition
