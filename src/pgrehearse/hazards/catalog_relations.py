"""Catalog rows of tables, views and what belongs to them, made into the model's facts."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.expressions import check_expression, parse_expressions
from pgrehearse.hazards.model import Column, ColumnType, Index, Model, Relation, RelationKind, Trigger
from pgrehearse.hazards.sql_names import RelationName

Rows = list[tuple[Any, ...]]
_MODIFIERS = re.compile(r"\((-?\d+(?:,-?\d+)*)\)")
_EVENTS = {4: "insert", 8: "delete", 16: "update", 32: "truncate"}  # catalog/pg_trigger.h


def fill_relations(model: Model, rows: Callable[[str], Rows]) -> dict[int, Relation]:
    """Put every relation into the model; `rows` runs a query of against.sql.  Returns them by oid."""
    by_oid = {row[0]: _relation(row) for row in rows("relations")}
    model.relations = {relation.name: relation for relation in by_oid.values()}
    for oid, name, *rest in rows("columns"):
        if oid in by_oid:
            by_oid[oid].columns[name] = _column(name, rest)
    for oid, name, *called in rows("default_calls"):
        if oid in by_oid:
            by_oid[oid].columns[name].default_calls |= {RelationName(*called)}
    _add_constraints(by_oid, rows("constraints"))
    _add_indexes(model, by_oid, rows("indexes"))
    for oid, name, *rest in rows("triggers"):
        if oid in by_oid:
            by_oid[oid].triggers[name] = _trigger(name, rest)
    for oid, name, event in rows("rules"):
        if oid in by_oid:
            by_oid[oid].rules[name] = event
    for child, parent in rows("inheritance"):
        if child in by_oid and parent in by_oid:  # indexes inherit too
            by_oid[parent].partitions.add(by_oid[child].name)
            if by_oid[child].partition_bound is not None:
                by_oid[child].partition_of = by_oid[parent].name
    for view, is_relation, used, column, namespace, function in rows("view_uses"):
        if view not in by_oid:
            continue
        if not is_relation:
            by_oid[view].calls.add(RelationName(namespace, function))
        elif used in by_oid and used != view:
            by_oid[view].uses.add((by_oid[used].name, column))
    for namespace, name, table in rows("statistics"):
        if table in by_oid:
            model.statistics[RelationName(namespace, name)] = by_oid[table].name
    for namespace, name, updates, deletes in rows("published"):
        commands = {"update": updates, "delete": deletes}
        model.published[RelationName(namespace, name)] = frozenset(each for each, sent in commands.items() if sent)
    for sequence, table, column in rows("sequence_owners"):
        if sequence in by_oid and table in by_oid:
            by_oid[sequence].owned_by = (by_oid[table].name, column)
    return by_oid


def column_type(written: str, name: str, namespace: str, *, is_array: bool) -> ColumnType:
    """A type as `format_type` and pg_type (an array's: its element's) tell it."""
    modifiers = _MODIFIERS.search(written)
    return ColumnType(
        name=name,
        namespace=None if namespace == "pg_catalog" else namespace,
        modifiers=tuple(int(each) for each in modifiers[1].split(",")) if modifiers else (),
        dimensions=int(is_array),
        written=written,
    )


def table_constraint(name: str, kind: str, rest: Sequence[Any], referenced: RelationName | None) -> Constraint:
    """A row of the query `constraints` from its fifth column on."""
    columns, validated, enforced, _, parent_columns, on_delete, on_update, deferrable, deferred, *more = rest
    index, definition, inherited = more
    return Constraint(
        name=name,
        kind=ConstraintKind(kind),
        columns=tuple(columns),
        validated=validated,
        enforced=enforced,
        referenced=referenced,
        referenced_columns=tuple(parent_columns),
        on_delete=on_delete.strip() or "a",
        on_update=on_update.strip() or "a",
        deferrable=deferrable,
        initially_deferred=deferred,
        index=index,
        definition=definition,
        inherited=inherited,
    )


def _relation(row: Sequence[Any]) -> Relation:
    (
        _,
        namespace,
        name,
        kind,
        rows,
        persistence,
        secured,
        method,
        tablespace,
        bound,
        key,
        default,
        policies,
        typed,
        owner,
        replica_identity,
        *of_type,
    ) = row
    return Relation(
        name=RelationName(namespace, name),
        kind=RelationKind(kind),
        knows=True,
        has_default_partition=default,
        partition_bound=bound,
        partition_key=key,
        row_security=secured,
        policies=len(policies),
        policy_names=set(policies),
        replica_identity=replica_identity,
        unlogged=persistence == "u",
        temporary=persistence == "t",
        access_method=method,
        tablespace=tablespace,
        rows=rows if rows >= 0 and kind in "rmp" else None,
        row_type_used=typed,
        owner=owner,
        of_type=RelationName(*of_type) if of_type[1] is not None else None,
    )


def _column(name: str, row: Sequence[Any]) -> Column:
    written, type_name, namespace, is_array, not_null, has_default, identity, generated, collation, nulls = row
    return Column(
        name=name,
        type=column_type(written, type_name, namespace, is_array=is_array),
        not_null=not_null,
        has_default=has_default or bool(identity),
        identity=identity,
        generated=generated,
        null_fraction=nulls,
        collation=collation,
    )


def _add_constraints(by_oid: dict[int, Relation], rows: Rows) -> None:
    checks: list[Constraint] = []
    for table, _, name, kind, *rest in rows:
        if table not in by_oid:
            continue
        parent = by_oid.get(rest[3])
        constraint = table_constraint(name, kind, rest, parent.name if parent is not None else None)
        by_oid[table].constraints[name] = constraint
        if constraint.kind is ConstraintKind.CHECK:
            checks.append(constraint)
    parsed = parse_expressions([check_expression(check.definition or "") for check in checks])
    for check, expression in zip(checks, parsed, strict=True):
        if expression is not None:
            check.proves_not_null = expression.proves_not_null


def _add_indexes(model: Model, by_oid: dict[int, Relation], rows: Rows) -> None:
    texts: list[str] = []
    for row in rows:
        texts += [text for text in row[5:7] if text is not None]
    parsed = iter(parse_expressions(texts))
    for (
        table,
        namespace,
        name,
        columns,
        keys,
        expressions,
        predicate,
        unique,
        primary,
        valid,
        constraint,
        method,
    ) in rows:
        found = [next(parsed) for text in (expressions, predicate) if text is not None]
        if table not in by_oid:
            continue
        relation = by_oid[table]
        # What the parser cannot read may name any column.
        named = [frozenset(relation.columns) if each is None else each.columns for each in found]
        relation.indexes[name] = Index(
            name=name,
            columns=tuple(columns),
            key_columns=tuple(keys),
            expression_columns=frozenset().union(*named),
            unique=unique,
            primary=primary,
            valid=valid,
            constraint=constraint,
            expressions=expressions is not None,
            partial=predicate is not None,
            method=method,
        )
        model.index_tables[RelationName(namespace, name)] = relation.name


def _trigger(name: str, row: Sequence[Any]) -> Trigger:
    namespace, function, kind, constraint, deferred, enabled = row
    return Trigger(
        name=name,
        function=RelationName(namespace, function),
        events=frozenset(event for bit, event in _EVENTS.items() if kind & bit),
        constraint=constraint,
        initially_deferred=deferred,
        enabled=enabled,
    )
