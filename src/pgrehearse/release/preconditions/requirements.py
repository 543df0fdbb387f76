"""What constraints and indexes require of the rows that are there.

Source: the manual's CREATE INDEX, ALTER TABLE and ALTER DOMAIN; `RI_Initial_Check` in
src/backend/utils/adt/ri_triggers.c for which rows a foreign key looks at.
"""

from collections.abc import Sequence
from typing import Any

from pglast import ast
from pglast.enums import ConstrType
from psycopg import sql

from pgrehearse.hazards.sql_names import quoted
from pgrehearse.release.preconditions.asking import Asking, cut, listed
from pgrehearse.release.preconditions.column_type import ColumnType, DomainConstraint, TypeNow
from pgrehearse.release.preconditions.expressions import Asked, NotAsked, column, operator, printed, read_expression
from pgrehearse.release.preconditions.precondition import GroupTest, OrphanTest, PairTest, PreconditionKind, RowTest
from pgrehearse.release.preconditions.shape import ColumnNow, TableNow
from pgrehearse.schema.schema_object import ObjectKind

# Equality of these is the type's own; they only order strings otherwise.
PATTERN_CLASSES = frozenset({"text_pattern_ops", "varchar_pattern_ops", "bpchar_pattern_ops", "text_ops", "int4_ops",
                             "int8_ops", "varchar_ops", "bpchar_ops", "uuid_ops"})  # fmt: skip

_VALUE = ColumnNow(production="value", type=ColumnType(name="?"))


def require_constraint(asking: Asking, table: TableNow, node: Any, *, parent: TableNow | None = None) -> None:
    """A table constraint that is checked against the rows when it is added.

    ``parent``: of a foreign key, where its name in the parse tree is not today's.
    """
    if node.skip_validation or not _is_enforced(node):
        return
    match node.contype:
        case ConstrType.CONSTR_PRIMARY | ConstrType.CONSTR_UNIQUE if node.indexname:
            if node.contype == ConstrType.CONSTR_PRIMARY:
                _require_index_not_null(asking, table, node.indexname)
        case ConstrType.CONSTR_PRIMARY | ConstrType.CONSTR_UNIQUE if node.without_overlaps:
            _require_no_overlap(asking, table, node)
        case ConstrType.CONSTR_PRIMARY | ConstrType.CONSTR_UNIQUE:
            names = strings(node.keys)
            if node.contype == ConstrType.CONSTR_PRIMARY:
                for name in names:
                    require_not_null(asking, table, name)
            _require_unique(
                asking, table, [column(name) for name in names], None, nulls_equal=bool(node.nulls_not_distinct)
            )
        case ConstrType.CONSTR_NOTNULL:
            for name in strings(node.keys):
                require_not_null(asking, table, name, descends=not node.is_no_inherit)
        case ConstrType.CONSTR_CHECK:
            require_check(asking, table, node)
        case ConstrType.CONSTR_FOREIGN:
            _require_parents(asking, table, node, parent or asking.shape.find_table(node.pktable))
        case ConstrType.CONSTR_EXCLUSION:
            _require_no_conflicts(asking, table, node)


def require_unique_index(asking: Asking, table: TableNow, node: ast.IndexStmt, *, built: bool = False) -> None:
    """A new unique index; on a partitioned table with ONLY nothing is built, so nothing is checked.

    ``built``: it is made for a partition that is attached, whatever the statement of its parent said.
    """
    if table.is_partitioned and not node.relation.inh and not built:
        return
    keys = [_index_key(asking, table, element) for element in node.indexParams]
    where = None if node.whereClause is None else read_expression(node.whereClause, table, asking.shape)
    _require_unique(asking, table, keys, where, nulls_equal=bool(node.nulls_not_distinct))


def require_not_null(asking: Asking, table: TableNow, name: str, *, descends: bool = True) -> None:
    """SET NOT NULL, or a primary key's column."""
    found = table.columns.get(name)
    if found is None:
        _leave_unknown(asking, PreconditionKind.NULLS, table, name)
        return
    if found.not_null:
        return
    asking.ask(
        PreconditionKind.NULLS,
        table,
        f"no row has NULL in {quoted(name)}",
        lambda: RowTest(
            rows=table.rows(descends=descends), violates=sql.SQL("{} IS NULL").format(sql.Identifier(name))
        ),
        columns=[name],
        descends=descends,
    )


def require_no_rows(asking: Asking, table: TableNow, name: str) -> None:
    """ADD COLUMN … NOT NULL without a default."""
    asking.ask(
        PreconditionKind.ROWS,
        table,
        f"there is no row, as {quoted(name)} is added NOT NULL without a default",
        lambda: RowTest(rows=table.rows(), violates=sql.SQL("true")),
    )


def require_check(asking: Asking, table: TableNow, node: Any, *, named: str | None = None) -> None:
    """Every row satisfies the expression or makes it NULL."""
    expression = read_expression(node.raw_expr, table, asking.shape)
    name = named or node.conname
    text = cut(printed(node.raw_expr))
    descends = not node.is_no_inherit

    def test() -> RowTest:
        assert isinstance(expression, Asked)
        return RowTest(
            rows=table.rows(descends=descends), violates=sql.SQL("({}) IS FALSE").format(expression.composed)
        )

    asking.ask(
        PreconditionKind.CHECK,
        table,
        f"every row satisfies {f'{quoted(name)}: ' if name else ''}{text}",
        test,
        expressions=[expression],
        descends=descends,
    )


def require_domain(asking: Asking, domain: TypeNow, name: str, constraint: DomainConstraint | None) -> None:
    """A check of a domain, or None for NOT NULL, in every column of it and of the domains made of it."""
    for type_now in asking.shape.domains_over(domain):
        for table in tuple(asking.shape.tables.values()):
            if table.kind is ObjectKind.VIEW:
                continue
            for found, held in tuple(table.columns.items()):
                if held.type.own is not type_now or any(found in parent.columns for parent in table.parents):
                    continue
                if held.type.is_array:
                    asking.leave(PreconditionKind.CHECK, table.shown, f"every {found} satisfies {name}", "an array")
                else:
                    _require_domain_of(asking, table, found, name, constraint)


def strings(nodes: Any) -> list[str]:
    """The names of a list of names."""
    return [node.sval for node in nodes or ()]


def _is_enforced(node: Any) -> bool:
    """Only a check and a foreign key can be NOT ENFORCED; for the others the parser leaves the field false."""
    can_be = node.contype in (ConstrType.CONSTR_CHECK, ConstrType.CONSTR_FOREIGN)
    return bool(node.is_enforced) or not can_be


def _require_domain_of(
    asking: Asking, table: TableNow, name: str, constraint_name: str, constraint: DomainConstraint | None
) -> None:
    if constraint is None:
        violates: sql.Composable | None = sql.SQL("value IS NULL")
        what, kind = f"no row has NULL in {quoted(name)}", PreconditionKind.NULLS
    else:
        # VALUE stands for the value: the column is read under that name.
        stand_in = TableNow(namespace="", name=table.name, production=None, columns={"value": _VALUE})
        expression = read_expression(constraint.expression, stand_in, asking.shape)
        violates = sql.SQL("({}) IS FALSE").format(expression.composed) if isinstance(expression, Asked) else None
        what, kind = f"every {quoted(name)} satisfies {constraint_name}", PreconditionKind.CHECK
        if isinstance(expression, NotAsked):
            asking.ask(kind, table, what, _no_test, columns=[name], expressions=[expression])
            return

    def test() -> RowTest:
        assert violates is not None
        rows = table.rows()
        own = [(there, here) for there, here in rows.columns if here == name]
        renamed = type(rows)(
            namespace=rows.namespace,
            relation=rows.relation,
            alias=rows.alias,
            descends=True,
            columns=tuple((there, "value") for there, _ in own),
        )
        return RowTest(rows=renamed, violates=violates)

    if table.layers:
        asking.leave(kind, table.shown, what, "the plan changes types of the same table")
    else:
        asking.ask(kind, table, what, test, columns=[name])


def _no_test() -> RowTest:
    raise AssertionError("an expression that cannot be asked has no test")


def _index_key(asking: Asking, table: TableNow, element: Any) -> Asked | NotAsked:
    if element.opclass and element.opclass[-1].sval not in PATTERN_CLASSES:
        return NotAsked(because=f"operator class {element.opclass[-1].sval} may have an equality of its own")
    if element.name is not None:
        if element.name not in table.columns:
            return NotAsked(because=f"there is no column {element.name}")
        read: Asked | NotAsked = column(element.name)
    else:
        read = read_expression(element.expr, table, asking.shape)
    if isinstance(read, NotAsked) or not element.collation:
        return read
    collation = sql.Identifier(*strings(element.collation))
    return Asked(composed=sql.SQL("({} COLLATE {})").format(read.composed, collation), columns=read.columns)


def _require_unique(
    asking: Asking,
    table: TableNow,
    keys: Sequence[Asked | NotAsked],
    where: Asked | NotAsked | None,
    *,
    nulls_equal: bool,
) -> None:
    plain = [name for key in keys if isinstance(key, Asked) for name in key.columns]
    shown = ", ".join(quoted(name) for name in dict.fromkeys(plain))
    exact = all(isinstance(key, Asked) and key.is_plain for key in keys)
    unknown = [name for name in plain if name not in table.columns]
    if unknown:
        _leave_unknown(asking, PreconditionKind.DUPLICATES, table, unknown[0])
        return

    def test() -> GroupTest:
        return GroupTest(
            # A unique index of a parent by inheritance knows the parent's own rows alone.
            rows=table.rows(descends=table.is_partitioned),
            keys=tuple(key.composed for key in keys if isinstance(key, Asked)),
            where=where.composed if isinstance(where, Asked) else None,
            nulls_equal=nulls_equal,
        )

    asking.ask(
        PreconditionKind.DUPLICATES,
        table,
        f"no two rows have the same ({shown})" if exact else f"no two rows have the same key over ({shown})",
        test,
        expressions=[*keys, *([where] if where is not None else [])],
        descends=table.is_partitioned,
    )


def _require_index_not_null(asking: Asking, table: TableNow, index: str) -> None:
    """PRIMARY KEY USING INDEX sets its columns NOT NULL; that they are unique the index has proved."""
    owner, definition = asking.shape.indexes.get((table.namespace, index), (None, ""))
    if owner is None or not definition:
        asking.leave(PreconditionKind.NULLS, table.shown, f"no row has NULL in {quoted(index)}", "it is not known")
        return
    node = asking.shape.parse_index(definition)
    for element in node.indexParams if node is not None else ():
        if element.name is not None:
            require_not_null(asking, table, element.name)


def _require_parents(asking: Asking, table: TableNow, node: Any, parent: TableNow | None) -> None:
    names = strings(node.fk_attrs)
    shown = parent.shown if parent is not None and parent.shown else node.pktable.relname
    what = f"every {listed(names)} is found in {shown}"
    if parent is None:
        asking.leave(PreconditionKind.ORPHANS, table.shown, what, f"{shown} is not known")
        return
    referenced = strings(node.pk_attrs) or _primary_key(parent)
    if node.fk_with_period or len(referenced) != len(names) or any(name not in table.columns for name in names):
        because = "ranges are compared" if node.fk_with_period else "its columns are not known"
        asking.leave(PreconditionKind.ORPHANS, table.shown, what, because)
        return
    asking.ask(
        PreconditionKind.ORPHANS,
        table,
        what,
        lambda: OrphanTest(
            rows=table.rows(descends=table.is_partitioned),
            parent=parent.rows(descends=parent.is_partitioned),
            pairs=tuple(zip(names, referenced, strict=True)),
            match_full=node.fk_matchtype == "f",
        ),
        columns=names,
        descends=table.is_partitioned,
        parent=(parent, referenced),
    )


def _primary_key(table: TableNow) -> list[str]:
    for constraint in table.constraints.values():
        if not constraint.text or constraint.text.startswith("PRIMARY KEY"):
            node = constraint.parsed()
            if node is not None and node.contype == ConstrType.CONSTR_PRIMARY:
                return strings(node.keys)
    return []


def _require_no_conflicts(asking: Asking, table: TableNow, node: Any) -> None:
    keys = [_index_key(asking, table, element) for element, _ in node.exclusions]
    operators = [_operator(names) for _, names in node.exclusions]
    where = None if node.where_clause is None else read_expression(node.where_clause, table, asking.shape)
    _require_pairs(asking, table, keys, operators, where, node.conname)


def _require_no_overlap(asking: Asking, table: TableNow, node: Any) -> None:
    """WITHOUT OVERLAPS (18): equal in all columns but the last, and the last one's ranges meet."""
    names = strings(node.keys)
    if node.contype == ConstrType.CONSTR_PRIMARY:
        for name in names:
            require_not_null(asking, table, name)
    keys = [column(name) for name in names]
    operators = [*(operator("=") for _ in names[:-1]), operator("&&")]
    _require_pairs(asking, table, keys, operators, None, node.conname)


def _require_pairs(
    asking: Asking,
    table: TableNow,
    keys: Sequence[Asked | NotAsked],
    operators: Sequence[sql.Composable],
    where: Asked | NotAsked | None,
    name: str | None,
) -> None:
    def test() -> PairTest:
        composed = [key.composed for key in keys if isinstance(key, Asked)]
        return PairTest(
            rows=table.rows(descends=table.is_partitioned),
            elements=tuple(zip(composed, operators, strict=True)),
            where=where.composed if isinstance(where, Asked) else None,
        )

    asking.ask(
        PreconditionKind.CONFLICTS,
        table,
        f"no two rows conflict under exclusion constraint {quoted(name) if name else 'without a name'}",
        test,
        expressions=[*keys, *([where] if where is not None else [])],
        descends=table.is_partitioned,
    )


def _operator(names: Any) -> sql.Composable:
    *namespace, name = strings(names)
    symbol = operator(name)
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(*namespace), symbol) if namespace else symbol


def _leave_unknown(asking: Asking, kind: PreconditionKind, table: TableNow, name: str) -> None:
    if table.production is None:  # CREATE TABLE AS: what columns it has, its text does not show
        asking.ask(kind, table, f"the rows allow it for {quoted(name)}", _no_test, columns=[name])
        return
    asking.leave(kind, table.shown or table.name, f"the rows allow it for {quoted(name)}", f"no column {name} is known")
