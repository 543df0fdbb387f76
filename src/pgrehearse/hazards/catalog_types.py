"""Catalog rows of types and functions, made into the model's facts."""

from typing import Any

from pgrehearse.hazards.catalog_relations import column_type, table_constraint
from pgrehearse.hazards.model import Function, UserType, Volatility
from pgrehearse.hazards.sql_names import RelationName

Rows = list[tuple[Any, ...]]


def read_types(rows: Rows, constraint_rows: Rows) -> dict[RelationName, UserType]:
    """Enums, domains (with their constraints), composites and ranges."""
    by_oid: dict[int, UserType] = {}
    bases: dict[int, int] = {}
    for oid, namespace, name, kind, not_null, written, base, *element, labels in rows:
        base_name, base_namespace, is_array, element_name, element_namespace = element
        by_oid[oid] = UserType(
            name=RelationName(namespace, name),
            kind=kind,
            labels=list(labels),
            base=(
                column_type(
                    written,
                    element_name if is_array else base_name,
                    element_namespace if is_array else base_namespace,
                    is_array=is_array,
                )
                if base is not None
                else None
            ),
            constrained=not_null if kind == "d" else None,
        )
        if base is not None:
            bases[oid] = base
    for _, domain, name, kind, *rest in constraint_rows:
        if domain in by_oid:
            by_oid[domain].constraints[name] = table_constraint(name, kind, rest, None)
            by_oid[domain].constrained = True
    for oid in bases:
        below: int | None = oid
        while below is not None:  # a domain over a constrained domain
            if below in by_oid and by_oid[below].constrained:
                by_oid[oid].constrained = True
            below = bases.get(below)
    return {user_type.name: user_type for user_type in by_oid.values()}


def read_functions(rows: Rows) -> dict[RelationName, list[Function]]:
    """Every overload by its name."""
    functions: dict[RelationName, list[Function]] = {}
    for namespace, name, arguments, kind, language, volatility, body, definition, returns_trigger in rows:
        function = Function(
            name=RelationName(namespace, name),
            arguments=arguments,
            kind=kind,
            language=language,
            volatility=Volatility(volatility),
            body=body,
            definition=definition,
            returns_trigger=returns_trigger,
        )
        functions.setdefault(function.name, []).append(function)
    return functions
