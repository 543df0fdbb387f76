"""What the source's user may not read of what a dump reads, asked before the dump and told at once."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.errors import SourceUnreadable
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
NAMED = 20  # of each kind, in a message; the rest is counted
OR_ELSE = "Or, for schemas, tables and sequences"
ONE_BY_ONE = 10  # more tables of one namespace are granted all at once


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRelation:
    """One table or sequence that a dump of this user's could not read, or not wholly."""

    namespace: str
    name: str
    is_sequence: bool
    namespace_is_closed: bool  # no USAGE
    is_closed: bool  # no SELECT
    hides_rows: bool  # row-level security applies to this user

    @property
    def spoken(self) -> str:
        return f"{_spoken(self.namespace)}.{_spoken(self.name)}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableParts:
    """What stands between this user and a whole copy; all empty: nothing."""

    user: str
    relations: tuple[UnreadableRelation, ...]
    large_objects: tuple[int, ...]  # the first of them
    large_object_count: int

    def require_none(self, address: str) -> None:
        """Raise `SourceUnreadable` (exit 3) naming everything, with the statements that give the rights."""
        found = [f"  - {line}" for line in self._told()]
        if found:
            all_data = _quoted(sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(self.user)))
            remedies = "\n".join([*self._statements(), f"{OR_ELSE}: {all_data}, or another user's URL."])
            raise SourceUnreadable(
                f"{self.user} may not read all of {address}, so its copy would not be whole:\n" + "\n".join(found),
                remedy=f"Have a superuser or the owner run there:\n{remedies}",
            )

    def _told(self) -> Iterator[str]:
        closed = dict.fromkeys(each.namespace for each in self.relations if each.namespace_is_closed)
        if closed:
            yield f"no USAGE on schema {_listed(map(_spoken, closed))}"
        for kind, is_sequence in (("table", False), ("sequence", True)):
            names = [each.spoken for each in self._closed() if each.is_sequence is is_sequence]
            if names:
                yield f"no SELECT on {kind} {_listed(names)}"
        if hidden := [each.spoken for each in self.relations if each.hides_rows]:
            yield f"row-level security hides rows of {_listed(hidden)}"
        if self.large_objects:
            yield f"no SELECT on large object {_listed(map(str, self.large_objects), count=self.large_object_count)}"

    def _statements(self) -> Iterator[str]:
        user = sql.Identifier(self.user)
        for name in dict.fromkeys(each.namespace for each in self.relations if each.namespace_is_closed):
            yield _quoted(sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(sql.Identifier(name), user))
        for is_sequence, one, many in (
            (False, "GRANT SELECT ON {} TO {};", "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {};"),
            (True, "GRANT SELECT ON SEQUENCE {} TO {};", "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {} TO {};"),
        ):
            by_namespace: dict[str, list[sql.Identifier]] = {}
            for each in self._closed():
                if each.is_sequence is is_sequence:
                    by_namespace.setdefault(each.namespace, []).append(each.identifier)
            for name, identifiers in by_namespace.items():
                statement = sql.SQL(one).format(sql.SQL(", ").join(identifiers), user)
                if len(identifiers) > ONE_BY_ONE:
                    statement = sql.SQL(many).format(sql.Identifier(name), user)
                yield _quoted(statement)
        if any(each.hides_rows for each in self.relations):
            yield _quoted(sql.SQL("ALTER ROLE {} BYPASSRLS;").format(user))
        if self.large_objects:
            oids = sql.SQL(", ").join(map(sql.Literal, self.large_objects))
            yield _quoted(sql.SQL("GRANT SELECT ON LARGE OBJECT {} TO {};").format(oids, user))
            if self.large_object_count > len(self.large_objects):
                more = self.large_object_count - len(self.large_objects)
                yield f"(and the other {counted(more, 'large object')})"

    def _closed(self) -> Sequence[UnreadableRelation]:
        return [each for each in self.relations if each.is_closed]


def read_unreadable(connection: Connection) -> UnreadableParts:
    """Ask, as the session's current user, about everything that pg_dump locks or reads; nothing else.

    It locks tables and partitioned tables, reads the rows of tables, of sequences and of large objects, and of an
    extension's tables those that are registered with it.  Three small queries of catalogs, no lock; 10,000 tables and
    10,000 large objects took 0.3 s on a busy machine, 1.2 s where nothing may be read.
    """
    version = connection.info.server_version
    rows = connection.execute(QUERIES["relations"], {"sequences_by_oid": version >= 180000}).fetchall()
    objects = connection.execute(QUERIES[f"large_objects_{18 if version >= 180000 else 14}"], (NAMED,)).fetchall()
    return UnreadableParts(
        user=fetch_value(connection, "SELECT current_user::pg_catalog.text"),
        relations=tuple(
            UnreadableRelation(
                namespace=namespace, name=name, is_sequence=kind == "S", namespace_is_closed=not usable,
                is_closed=not readable, hides_rows=hidden,
            )
            for namespace, name, kind, usable, readable, hidden in rows
        ),
        large_objects=tuple(oid for oid, _ in objects),
        large_object_count=objects[0][1] if objects else 0,
    )  # fmt: skip


def _spoken(name: str) -> str:
    """Quoted only where SQL would need it, but for its reserved words."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else _quoted(sql.Identifier(name))


def _quoted(statement: sql.Composable) -> str:
    return statement.as_string(None)


def _listed(names: Iterable[str], *, count: int | None = None) -> str:
    all_names = list(names)
    more = (len(all_names) if count is None else count) - len(all_names[:NAMED])
    return ", ".join(all_names[:NAMED]) + (f" and {more} more" if more else "")
