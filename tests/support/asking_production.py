"""Derive a plan's preconditions from a database's own schema, and ask them of it, as the gate does."""

from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.preconditions import (
    Precondition,
    PreconditionResult,
    check_preconditions,
    derive_preconditions,
)
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema


def derive_from(schema: Schema, *scripts: str, search_path: tuple[str, ...] = ("public",)) -> tuple[Precondition, ...]:
    """From several files in their order: `0001_test.sql`, `0002_test.sql`…"""
    files = []
    for number, script in enumerate(scripts, 1):
        content = script.encode()
        path = f"{number:04}_test.sql"
        migration = Migration(version=path[:4], name="test", path=path, kind=SourceKind.SQL_FOLDER, content=content)
        files.append((migration, split_file(content, path=path, kind=migration.kind)))
    return derive_preconditions(files, schema, search_path=search_path)


def derive(
    connection: Connection, *scripts: str, search_path: tuple[str, ...] = ("public",)
) -> tuple[Precondition, ...]:
    """The same, the schema read now."""
    return derive_from(read_schema(connection), *scripts, search_path=search_path)


def ask(connection: Connection, *scripts: str, **options: int) -> tuple[PreconditionResult, ...]:
    """Derived and checked; options go to the check."""
    return check_preconditions(connection, derive(connection, *scripts), **options)
