"""Questions to the data that a rule may ask when it has a database: does a NULL, a duplicate, a row stand in the way?

Each is one read-only statement of at most a second, whose locks (ACCESS SHARE; ROW EXCLUSIVE where an INSERT, UPDATE or
DELETE is analysed, and not run) are given back at once.  An answer that did not come in time, needs a right that the
role has not, or would call a function that may do more than read, is None: not known.  Row security hides rows, so a
table under it is never asked.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import psycopg
from pglast import parse_sql
from pglast.parser import ParseError, parse_sql_json
from pglast.stream import RawStream
from psycopg import sql

from pgrehearse.hazards.constraint import Constraint
from pgrehearse.hazards.expressions import cut_by_a_cast
from pgrehearse.hazards.operator_classes import NO_DEFAULT_OPERATOR_CLASS, NO_NAMED_OPERATOR_CLASS
from pgrehearse.hazards.refusal import without_literals
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.postgres.connect import Connection, fetch_value

TIMEOUT_MS = 1_000
MOST_TIMEOUTS = 5  # then nothing is asked any more: a large, busy database
# Of pg_catalog, no overload of which may do more than read.
READING_FUNCTIONS = """
    SELECT p.proname FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace GROUP BY p.proname
    HAVING pg_catalog.bool_and(p.provolatile <> 'v' AND p.prokind IN ('f', 'a'))
"""
MAY_BE_ASKED = """
    SELECT pg_catalog.has_table_privilege(c.oid, 'SELECT') AND NOT pg_catalog.row_security_active(c.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
"""
SEES_WHAT_A_MIGRATION_SEES = """
    SELECT NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE'))
    FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp)'
"""
# A refused statement stands in the server's log with its text, unless a superuser says otherwise.
NOT_LOGGED = """
    SELECT pg_catalog.set_config(s.name, 'panic', true)
    FROM (VALUES ('log_min_messages'), ('log_min_error_statement')) s (name)
    WHERE (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)
"""
MARKS = """
    SELECT CASE WHEN l.lanname <> 'sql' THEN p.provolatile::text ELSE 'inlined' END,
           ARRAY(SELECT t.typname::text FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY a (oid, place)
                   JOIN pg_catalog.pg_type t ON t.oid = a.oid ORDER BY a.place)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.proname = %s AND (%s::text IS NULL OR n.nspname = %s)
"""
# By the cast's function; without one, by how values are written and read.
IMMUTABLE_CAST = """
    SELECT CASE WHEN o.oid = n.oid OR k.castmethod = 'b' THEN true
                WHEN k.castmethod = 'f' THEN f.provolatile = 'i'
                ELSE w.provolatile = 'i' AND r.provolatile = 'i' END
    FROM pg_catalog.pg_type o JOIN pg_catalog.pg_proc w ON w.oid = o.typoutput
    CROSS JOIN pg_catalog.pg_type n JOIN pg_catalog.pg_proc r ON r.oid = n.typinput
    LEFT JOIN pg_catalog.pg_cast k ON k.castsource = o.oid AND k.casttarget = n.oid
    LEFT JOIN pg_catalog.pg_proc f ON f.oid = k.castfunc
    WHERE o.oid = {old}::pg_catalog.regtype AND n.oid = {new}::pg_catalog.regtype
"""
# Rights and policies of our role, DateStyle; what PREPARE alone refuses.
_NOT_OF_THE_QUERY = frozenset({"42501", "42P17", "22008", "42P14", "42P18", "42P05"})
# Of a younger grammar, which other rules know; several statements.
_NOT_ITS_MEANING = ("scanner_yyerror", "exec_parse_message")
_DRAWING_FUNCTIONS = frozenset({"nextval", "setval", "currval", "lastval", "random", "gen_random_uuid"})
# SQL that reads nothing but its own columns; a sub-select may read what an earlier statement changes.
_REFUSED = ('"SubLink":', '"ParamRef":', '"CurrentOfExpr":')


class Conversion(Enum):
    """What becomes of a column's values under another type."""

    FAILS = "fails"
    CHANGES = "changes"  # some value is another one after casting it back
    KEEPS = "keeps"


class DataQuestions:
    """Bound to a session that the caller keeps open."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.search_path: Sequence[str] = ()  # where names without a schema lead; empty: as the session has it
        self.made_functions: set[str] = set()  # that the files make or change, of whatever schema
        self.operators_came = False  # operator classes, families or casts, by the files
        self._timeouts = 0
        self._reading: frozenset[str] | None = None
        self._sees_all: bool | None = None
        self._may: dict[RelationName, bool] = {}

    def has_null(self, table: RelationName, column: str) -> bool | None:
        """Whether a row has no value there."""
        return self._exists(table, sql.SQL("{} IS NULL").format(sql.Identifier(column)))

    def has_value(self, table: RelationName, column: str) -> bool | None:
        """Whether any row has a value there."""
        return self._exists(table, sql.SQL("{} IS NOT NULL").format(sql.Identifier(column)))

    def has_row_where(self, table: RelationName, condition: str | None, *, alias: str | None = None) -> bool | None:
        """Whether the condition, as a statement wrote it, is true for a row; None: for any row at all."""
        if condition is None:
            return self._exists(table, sql.SQL("true"))
        if not self._only_reads(condition):
            return None
        return self._exists(table, _written(condition), alias=alias)

    def violates(self, table: RelationName, check: str) -> bool | None:
        """Whether a CHECK's expression is false for a row."""
        if not self._only_reads(check):
            return None
        return self._exists(table, sql.SQL("({}) IS FALSE").format(_written(check)))

    def violates_domain(self, table: RelationName, column: str, check: str) -> bool | None:
        """Whether the CHECK of a domain, which speaks of VALUE, is false for a value of this column."""
        if not self._only_reads(check):
            return None
        query = sql.SQL("SELECT EXISTS (SELECT FROM (SELECT {} AS value FROM {}) d WHERE ({}) IS FALSE)").format(
            sql.Identifier(column), _identifier(table), _written(check)
        )
        return self._ask(query, [table])

    def has_duplicates(self, table: RelationName, columns: Sequence[str], condition: str | None = None) -> bool | None:
        """Whether two rows have the same values there, none of them NULL; rows of children by INHERITS count too."""
        if condition is not None and not self._only_reads(condition):
            return None
        names = [sql.Identifier(column) for column in columns]
        given = [sql.SQL("{} IS NOT NULL").format(name) for name in names]
        if condition is not None:
            given.append(sql.SQL("({})").format(_written(condition)))
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} GROUP BY {} HAVING pg_catalog.count(*) > 1)").format(
            _identifier(table), sql.SQL(" AND ").join(given), sql.SQL(", ").join(names)
        )
        return self._ask(query, [table])

    def has_orphans(
        self, child: RelationName, columns: Sequence[str], parent: RelationName, parent_columns: Sequence[str]
    ) -> bool | None:
        """Whether a row of `child` refers to none of `parent` (MATCH SIMPLE: with a NULL it refers to nothing)."""
        pairs = [
            sql.SQL("p.{} = c.{}").format(sql.Identifier(theirs), sql.Identifier(ours))
            for ours, theirs in zip(columns, parent_columns, strict=True)
        ]
        given = [sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(column)) for column in columns]
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {}))").format(
            _identifier(child), sql.SQL(" AND ").join(given), _identifier(parent), sql.SQL(" AND ").join(pairs)
        )
        return self._ask(query, [child, parent])

    def update_loses(self, update: str, table: RelationName) -> bool | None:
        """Whether an UPDATE, as a file wrote it, would change or empty a value that is there.

        Columns of other tables in its FROM are read too; a sub-select, a function of the user's: None.
        """
        return self._update_makes(update, table, sql.SQL("({old} IS NOT NULL AND {old} IS DISTINCT FROM ({new}))"))

    def update_changes(self, update: str, table: RelationName, columns: Collection[str]) -> bool | None:
        """Whether an UPDATE would give one of these columns another value, or one where there was none."""
        return self._update_makes(update, table, sql.SQL("({old} IS DISTINCT FROM ({new}))"), columns)

    def _update_makes(
        self, update: str, table: RelationName, change: sql.SQL, columns: Collection[str] | None = None
    ) -> bool | None:
        node: Any = parse_sql(update)[0].stmt
        if node.withClause is not None or any(target.val is None for target in node.targetList):
            return None
        if not self._only_reads_statement(update):
            return None
        target = node.relation.alias.aliasname if node.relation.alias is not None else node.relation.relname
        changed = []
        for each in node.targetList:
            if each.indirection or type(each.val).__name__ in ("MultiAssignRef", "SetToDefault"):
                return None
            old = sql.SQL("{}.{}").format(sql.Identifier(target), sql.Identifier(each.name))
            new = _literal(_deparsed(each.val))
            if columns is None or each.name in columns:
                changed.append(change.format(old=old, new=new))
        if not changed:
            return False
        sources = [_literal(_deparsed(source)) for source in (node.relation, *(node.fromClause or ()))]
        where = _literal(_deparsed(node.whereClause)) if node.whereClause is not None else sql.SQL("true")
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE ({}) AND ({}))").format(
            sql.SQL(", ").join(sources), where, sql.SQL(" OR ").join(changed)
        )
        return self._ask(query, [table])

    def has_large_objects(self) -> bool | None:
        """Whether there is any large object at all."""
        return self._ask(sql.SQL("SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)").format(), [])

    def delete_finds(self, delete: str, table: RelationName) -> bool | None:
        """Whether a DELETE, as a file wrote it, would find a row."""
        node: Any = parse_sql(delete)[0].stmt
        if node.withClause is not None or not self._only_reads_statement(delete):
            return None
        sources = [_literal(_deparsed(source)) for source in (node.relation, *(node.usingClause or ()))]
        where = _literal(_deparsed(node.whereClause)) if node.whereClause is not None else sql.SQL("true")
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(sql.SQL(", ").join(sources), where)
        return self._ask(query, [table])

    def merges_values(self, table: RelationName, column: str, expression: str) -> bool | None:
        """Whether the expression makes one value of two different ones, or NULL of one: then there is no way back."""
        if not self._only_reads(expression):
            return None
        name = sql.Identifier(column)
        query = sql.SQL(
            "SELECT EXISTS (SELECT FROM (SELECT DISTINCT {} AS o, ({}) AS n FROM {} WHERE {} IS NOT NULL) v "
            "GROUP BY v.n HAVING pg_catalog.count(*) > 1 OR v.n IS NULL)"
        ).format(name, _written(expression), _identifier(table), name)
        return self._ask(query, [table])

    def delete_reaches(
        self, delete: str, table: RelationName, path: Sequence[tuple[RelationName, Constraint]]
    ) -> bool | None:
        """Whether a DELETE, as a file wrote it, would find a row on which others hang over these foreign keys."""
        node: Any = parse_sql(delete)[0].stmt
        if node.withClause is not None or not self._only_reads_statement(delete):
            return None
        target = node.relation.alias.aliasname if node.relation.alias is not None else node.relation.relname
        names = [target, *(f"c{number}" for number in range(1, len(path) + 1))]
        found: sql.Composable = sql.SQL("true")
        for number in range(len(path), 0, -1):
            child, key = path[number - 1]
            parent, alias = sql.Identifier(names[number - 1]), sql.Identifier(names[number])
            pairs = [
                sql.SQL("{}.{} = {}.{}").format(parent, sql.Identifier(theirs), alias, sql.Identifier(ours))
                for ours, theirs in zip(key.columns, key.referenced_columns, strict=True)
            ]
            found = sql.SQL("EXISTS (SELECT FROM {} {} WHERE {} AND {})").format(
                _identifier(child), alias, sql.SQL(" AND ").join(pairs), found
            )
        sources = [_literal(_deparsed(source)) for source in (node.relation, *(node.usingClause or ()))]
        where = _literal(_deparsed(node.whereClause)) if node.whereClause is not None else sql.SQL("true")
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE ({}) AND {})").format(
            sql.SQL(", ").join(sources), where, found
        )
        return self._ask(query, [table, *(child for child, _ in path)])

    def refuses_row(self, table: RelationName, values: Mapping[str, tuple[str, str]], check: str) -> bool | None:
        """Whether a CHECK's expression is false for these constants, each with the type of its column."""
        if not self._only_reads(check) or not all(self._only_reads(constant) for constant, _ in values.values()):
            return None
        columns = [
            sql.SQL("({})::{} AS {}").format(_written(constant), _literal(of_type), sql.Identifier(column))
            for column, (constant, of_type) in values.items()
        ]
        query = sql.SQL("SELECT EXISTS (SELECT FROM (SELECT {}) {} WHERE ({}) IS FALSE)").format(
            sql.SQL(", ").join(columns), sql.Identifier(table.name), _written(check)
        )
        return self._ask(query, [])

    def lacks_function(self, signature: str) -> bool | None:
        """Whether no function has this name and these types of arguments."""
        if not self._sees_all_schemas():
            return None
        return self._ask(sql.SQL("SELECT pg_catalog.to_regprocedure({}) IS NULL").format(sql.Literal(signature)), [])

    def is_too_long(self, value: str, type_name: str) -> bool | None:
        """Whether a column of this type refuses the string for its length alone."""
        too_long = cut_by_a_cast(type_name)
        if too_long is None:
            return False
        return self._ask(sql.SQL("SELECT {}").format(sql.SQL(too_long).format(sql.Literal(value))), [])

    def sequence_is_beyond(self, sequence: RelationName, bound: int, *, above: bool) -> bool | None:
        """Whether the sequence's last value is above, or below, a bound."""
        operator = sql.SQL(">" if above else "<")
        compared = sql.SQL("s.last_value {} {}").format(operator, sql.Literal(bound))
        return self._exists(sequence, compared, alias="s")

    def lacks_operator_class(self, table: RelationName, column: str, method: str, named: str | None) -> bool | None:
        """Whether an index of this method finds no operator class: of that name, or by default for the column."""
        if self.operators_came:
            return None
        if named is not None:
            query = sql.SQL(NO_NAMED_OPERATOR_CLASS).format(method=sql.Literal(method), name=sql.Literal(named))
        else:
            of_table = [sql.Literal(each) for each in (table.namespace, table.name, column)]
            query = sql.SQL(NO_DEFAULT_OPERATOR_CLASS).format(*of_table, sql.Literal(method))
        return self._ask(query, [])

    def marks(self, function: RelationName) -> Sequence[tuple[str, Sequence[str]]] | None:
        """Volatility (`pg_proc.provolatile`; of one in SQL, its body's) and argument types of every overload."""
        if function.name in self.made_functions:
            return None
        try:
            with self._connection.transaction(force_rollback=True):
                found = self._connection.execute(MARKS, (function.name, function.namespace, function.namespace))
                return [(mark, types) for mark, types in found.fetchall()]
        except psycopg.Error:
            return None

    def cast_is_immutable(self, old: str, new: str) -> bool | None:
        """Whether a cast between these types, as SQL writes them, hangs on no setting of the session."""
        if self.operators_came:
            return None
        return self._ask(sql.SQL(IMMUTABLE_CAST).format(old=sql.Literal(old), new=sql.Literal(new)), [])

    def conversion(
        self,
        table: RelationName,
        column: str,
        old: str,
        new: str,
        *,
        using: str | None = None,
        time_zone: str | None = None,
    ) -> Conversion | None:
        """What `ALTER COLUMN … TYPE new [USING …]` would do to the values; types as SQL writes them.

        Without USING the server assigns, which refuses to cut what a cast would cut: that counts as FAILS.
        A value counts as changed where casting it back gives another one; without a cast back: None.
        """
        if using is not None and not self._only_reads(using):
            return None
        name = sql.Identifier(column)
        value = _written(using) if using is not None else name
        converted = sql.SQL("({})::{}").format(value, _literal(new))
        if using is None and (cut := cut_by_a_cast(new)) is not None:
            too_long = self._exists(table, sql.SQL(cut).format(name), time_zone=time_zone)
            if too_long is None or too_long:
                return None if too_long is None else Conversion.FAILS
        elif using is not None and cut_by_a_cast(new) is not None:  # USING's result is assigned, too
            converted = sql.SQL("({})").format(value)
        back = sql.SQL("({}::{})").format(converted, _literal(old))
        # Compared as text, byte for byte: json has no equality, and 1.0 = 1.00 although the scale is gone.
        lost = sql.SQL('{}::pg_catalog.text COLLATE "C" IS DISTINCT FROM {}::pg_catalog.text').format(name, back)
        try:
            found = self._ask_or_raise(
                sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL AND {})").format(
                    _identifier(table), name, lost
                ),
                [table],
                time_zone=time_zone,
            )
        except psycopg.DataError:
            return Conversion.FAILS
        except psycopg.Error:
            return None
        return None if found is None else Conversion.CHANGES if found else Conversion.KEEPS

    def refuses_to_analyse(self, query: str) -> str | None:
        """Why the server's parse analysis refuses the query, without what the query has between quotes; None: it does
        not, or that is not known.  Locks: what its analysis takes, ROW EXCLUSIVE at most, given back at once.
        """
        if self._timeouts >= MOST_TIMEOUTS or '"ParamRef":' in parse_sql_json(query) or not self._sees_all_schemas():
            return None
        prepare = sql.SQL("PREPARE pgrehearse_analysed AS {}").format(_literal(query))
        is_asked = False
        try:
            with self._connection.transaction(force_rollback=True):
                self._set_for_question(None)
                self._connection.execute(NOT_LOGGED)
                is_asked = True
                self._connection.execute(prepare, prepare=False, binary=True)  # the protocol for one statement only
                self._connection.execute("DEALLOCATE pgrehearse_analysed")  # no rollback takes it back
        except psycopg.errors.QueryCanceled:
            self._timeouts += 1
        except psycopg.Error as error:
            state = error.sqlstate or ""
            is_ours = not is_asked or state in _NOT_OF_THE_QUERY or error.diag.source_function in _NOT_ITS_MEANING
            if state[:2] in ("22", "42") and not is_ours:
                language = fetch_value(self._connection, "SELECT pg_catalog.current_setting('lc_messages')")
                return without_literals(state, error.diag.message_primary or "", query, language)
        return None

    def only_reads_by(self, functions: Iterable[RelationName]) -> bool:
        """Whether all of these are PostgreSQL's own, and do nothing but read, count or draw."""
        harmless = self._reading_functions() | _DRAWING_FUNCTIONS
        return all(each.namespace in (None, "pg_catalog") and each.name in harmless for each in functions)

    # --- asking

    def _exists(
        self, table: RelationName, condition: sql.Composable, *, alias: str | None = None, time_zone: str | None = None
    ) -> bool | None:
        source: sql.Composable = _identifier(table)
        if alias is not None:
            source = sql.SQL("{} AS {}").format(source, sql.Identifier(alias))
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(source, condition)
        return self._ask(query, [table], time_zone=time_zone)

    def _ask(self, query: sql.Composed, tables: Iterable[RelationName], *, time_zone: str | None = None) -> bool | None:
        try:
            return self._ask_or_raise(query, tables, time_zone=time_zone)
        except psycopg.Error:
            return None

    def _ask_or_raise(
        self, query: sql.Composed, tables: Iterable[RelationName], *, time_zone: str | None
    ) -> bool | None:
        if self._timeouts >= MOST_TIMEOUTS or not self._reads_as_parsed() or not all(map(self._may_ask, tables)):
            return None
        try:
            with self._connection.transaction(force_rollback=True):  # gives the locks back, also within the caller's
                self._set_for_question(time_zone)
                row = self._connection.execute(query, binary=True).fetchone()  # the protocol for one statement only
        except psycopg.errors.QueryCanceled:
            self._timeouts += 1
            return None
        return bool(row[0]) if row is not None else None

    def _set_for_question(self, time_zone: str | None) -> None:
        settings = {"statement_timeout": str(TIMEOUT_MS), "lock_timeout": str(TIMEOUT_MS)}
        if time_zone is not None:
            settings["TimeZone"] = time_zone
        if self.search_path:
            settings["search_path"] = ", ".join(_always_quoted(name) for name in self.search_path)
        for name, setting in settings.items():
            self._connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, setting))

    def _reads_as_parsed(self) -> bool:
        """Otherwise a backslash ends no string where our parser sees one end."""
        return self._connection.info.parameter_status("standard_conforming_strings") == "on"

    def _sees_all_schemas(self) -> bool:
        """A bare name is not looked for where the role has no USAGE; whoever migrates may have it."""
        if self._sees_all is None:
            self._sees_all = bool(fetch_value(self._connection, SEES_WHAT_A_MIGRATION_SEES))
        return self._sees_all and self._reads_as_parsed()

    def _may_ask(self, table: RelationName) -> bool:
        if table not in self._may:
            row = self._connection.execute(MAY_BE_ASKED, (table.namespace, table.name)).fetchone()
            self._may[table] = row is not None and row[0]
        return self._may[table]

    def _only_reads(self, expression: str) -> bool:
        """Whether it is one expression that calls nothing but what only reads."""
        statement = f"SELECT {expression}"
        try:
            trees: Any = parse_sql(statement)
        except ParseError:
            return False
        if len(trees) != 1 or trees[0].stmt.fromClause is not None or len(trees[0].stmt.targetList or ()) != 1:
            return False
        return self._only_reads_statement(statement)

    def _only_reads_statement(self, statement: str) -> bool:
        """Whether nothing is called but what PostgreSQL itself marks as reading only."""
        tree = parse_sql_json(statement)
        if any(word in tree for word in _REFUSED):
            return False
        reading = self._reading_functions()
        return all(namespace in ("", "pg_catalog") and name in reading for namespace, name in _called(json.loads(tree)))

    def _reading_functions(self) -> frozenset[str]:
        if self._reading is None:
            self._reading = frozenset(name for (name,) in self._connection.execute(READING_FUNCTIONS))
        return self._reading


def _called(node: Any) -> Iterable[tuple[str, str]]:
    if isinstance(node, list):
        for each in node:
            yield from _called(each)
    elif isinstance(node, dict):
        call = node.get("FuncCall")
        if call is not None:
            *before, name = (part["String"]["sval"] for part in call["funcname"])
            yield ".".join(before), name
        for each in node.values():
            yield from _called(each)


def _always_quoted(name: str) -> str:
    """`quoted` leaves "$user" and words that only a setting takes for something else as they are."""
    return '"' + name.replace('"', '""') + '"'


def _identifier(name: RelationName) -> sql.Identifier:
    return sql.Identifier(*(part for part in (name.namespace, name.name) if part is not None))


def _written(expression: str) -> sql.Composable:
    """One expression (`_only_reads`) as a file wrote it, read and written again by the parser."""
    tree: Any = parse_sql(f"SELECT {expression}")
    return _literal(_deparsed(tree[0].stmt.targetList[0].val))


def _deparsed(node: Any) -> str:
    text: str = RawStream()(node)  # a stream keeps what it wrote before
    return text


def _literal(text: str) -> sql.SQL:
    return sql.SQL(text)  # from a tree, and never itself formatted
