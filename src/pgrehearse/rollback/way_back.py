"""From two schemas and the databases that have them to the inverse: names first, the rest by what then differs."""

import psycopg

from pgrehearse.postgres.connect import Connection
from pgrehearse.rollback.definitions import Definitions, read_dependents
from pgrehearse.rollback.inverse import Inverse, invert
from pgrehearse.rollback.renames import rename_back
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema


def find_inverse(
    before: Schema,
    after: Schema,
    definitions: Definitions,
    migrated: Connection,
    *,
    ignore_relations: frozenset[str] = frozenset(),
) -> Inverse:
    """The DDL from ``after``, which ``migrated`` is in, back to ``before``; both were read with ``ignore_relations``.

    Changes nothing: names are given back in a transaction that is rolled back, to see what else then differs (a
    view that only names a renamed column needs no other mending).  Cost: one or two readings of the schema.
    """
    renames = rename_back(before, after)
    if not renames:
        return invert(before, after, definitions, read_dependents(migrated))
    try:
        with migrated.transaction(force_rollback=True):
            for statement in renames:
                migrated.execute(statement.encode())
            renamed = read_schema(migrated, ignore_relations=ignore_relations)
            dependents = read_dependents(migrated)
    except psycopg.Error as error:
        told = error.diag.message_primary or type(error).__name__
        sentence = f"names cannot be given back: {told}"
        return Inverse(statements=(), after_rows=(), not_invertible=(sentence,))
    rest = invert(before, renamed, definitions, dependents)
    return Inverse(
        statements=(*renames, *rest.statements), after_rows=rest.after_rows, not_invertible=rest.not_invertible
    )
