"""The DDL that turns a migrated database back into what it was.

Dropped objects come back with the text that pg_dump wrote for them, in its order; added ones are dropped, dependents
first and never with CASCADE; what changed is altered back.  What depends on something that must go is dropped with it
and made again.  Whether it is right is not decided here: it is performed on the clone and compared.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pgrehearse.rollback import ddl
from pgrehearse.rollback.alterations import (
    GENERIC,
    Impossible,
    Step,
    When,
    add_column,
    alter,
    alter_column,
    cannot,
    only_added_labels,
    renamed_labels,
    retype,
)
from pgrehearse.rollback.building import Building
from pgrehearse.rollback.definitions import PG_CLASS, Definitions, Dependents, Node, node_of
from pgrehearse.rollback.differences import VIEWS, Differences
from pgrehearse.rollback.renames import ASIDE
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

LAST = frozenset({ObjectKind.SCHEMA, ObjectKind.EXTENSION})
MADE_WITH_THEIR_RELATION = frozenset({ObjectKind.CONSTRAINT, ObjectKind.DOMAIN_CONSTRAINT, ObjectKind.INDEX})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inverse:
    """SQL, in order.  Rows are put back between the two; all of it in one transaction."""

    statements: tuple[str, ...]
    after_rows: tuple[str, ...]
    not_invertible: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not self.statements and not self.after_rows


def invert(before: Schema, after: Schema, definitions: Definitions, dependents: Dependents) -> Inverse:
    """From ``after`` back to ``before``; pure.

    ``after`` is the same database later, or a copy by TEMPLATE, with the names of what persists given back already
    (`renames.rename_back`).  ``definitions`` are those of ``before``, ``dependents`` those of ``after``.
    Cost: some µs per object.
    """
    return _Inverting(Differences(before, after, definitions, dependents)).inverse()


@dataclass(slots=True)
class _Inverting:
    what: Differences
    positions: list[str] = field(default_factory=list)  # what is remembered of sequences before they go
    tear_down: list[str] = field(default_factory=list)
    users: dict[Node, tuple[Node, ...]] = field(default_factory=dict)  # who depends on it, once asked

    def inverse(self) -> Inverse:
        building = Building(
            before=self.what.before,
            definitions=self.what.definitions,
            say=self.what.impossible.append,
            come_back=frozenset(found.name for found in self.what.removed if found.kind is ObjectKind.TABLE),
        )
        self._alter_kept(building)
        early, late = self._drops()
        for old in [*self.what.removed, *(old for old, _ in self.what.rebuilt.values())]:
            self._build(building, old)
        for number, (old, new) in enumerate(self.what.rebuilt.values()):
            if old.kind is ObjectKind.SEQUENCE:
                self._carry_position(building, old, new, number)
        building.settle_grants(self._new_grantees())
        return Inverse(
            statements=(*self.positions, *dict.fromkeys(self.tear_down), *early, *building.of(When.BUILD), *late),
            after_rows=tuple(building.of(When.AFTER_ROWS)),
            not_invertible=tuple(dict.fromkeys(self.what.impossible)),
        )

    # --- dropping --------------------------------------------------------------------------------------------------

    def _drops(self) -> tuple[list[str], list[str]]:
        """Dependents first; what a column that stays still uses only when that column is as it was."""
        going = {**self.what.added, **{node: new for node, (_, new) in self.what.rebuilt.items()}}
        early: list[str] = []
        late: list[str] = []
        for node in self._ordered(going):
            found = going[node]
            if self.what.goes_with_its_relation(found):
                continue
            target = late if node in self.what.added and (found.kind in LAST or self._is_used(node, going)) else early
            target += self._drop(found)
        late += [f"DROP TYPE {_aside(new)};" for _, new in self.what.rebuilt_enums()]
        return early, late

    def _drop(self, found: SchemaObject) -> list[str]:
        if found.kind is ObjectKind.DEFAULT_PRIVILEGES:
            return list(ddl.default_privileges(found, before=None, after=found.attributes.get("grants")))
        if found.kind is ObjectKind.SYSTEM_OBJECT:
            self.what.impossible.append(cannot(found, "grants").sentence)
            return []
        if found.kind is ObjectKind.TRIGGER and "definition" not in found.attributes:
            return [f"ALTER TABLE {found.relation} {ddl.enabling({})} TRIGGER {found.name};"]  # a partition's copy
        return [ddl.drop(found)]

    def _ordered(self, going: dict[Node, SchemaObject]) -> Iterator[Node]:
        """Whoever depends comes first.  In a circle somebody must be the first; the clone tells whether that works."""
        done: set[Node] = set()
        for start in sorted(going):
            path = [start]
            while path:
                waiting = [user for user in self._users(path[-1]) if user in going and user not in done]
                if waiting and waiting[0] not in path:
                    path.append(waiting[0])
                    continue
                free = [user for user in waiting if user not in path]
                if free:
                    path.append(free[0])
                    continue
                node = path.pop()
                if node not in done:
                    done.add(node)
                    yield node

    def _users(self, node: Node) -> Iterable[Node]:
        if node not in self.users:
            users = dict.fromkeys(self.what.dependents.reach([node]))
            for user in list(users):  # who goes with its relation is gone once that is
                found = self.what.added.get(user)
                if found is not None and self.what.relation_goes(found):
                    users[self.what.relation_node(found) or user] = None
            users.pop(node, None)
            self.users[node] = tuple(users)
        return self.users[node]

    def _is_used(self, node: Node, going: dict[Node, SchemaObject]) -> bool:
        return any(user[2] and user not in going and (PG_CLASS, user[1], 0) not in going for user in self._users(node))

    # --- altering --------------------------------------------------------------------------------------------------

    def _alter_kept(self, building: Building) -> None:
        enums = {id(old) for old, _ in self.what.rebuilt_enums()}
        for old, new, changed in list(self.what.kept):
            if node_of(new) in self.what.rebuilt:
                continue
            if self.what.relation_goes(new):
                continue
            for step in self._alter(old, new, changed, is_rebuilt_enum=id(old) in enums):
                self._take(building, old, step)
            self._alter_generic(building, old, new, changed)
        for old_enum, new_enum in self.what.rebuilt_enums():
            self._rebuild_enum(building, old_enum, new_enum)
        for node, (old, _) in self.what.pairs.items():
            emptied = old.oid in self.what.definitions.populated and node[1] not in self.what.dependents.populated
            if old.kind is ObjectKind.MATERIALIZED_VIEW and emptied and node not in self.what.rebuilt:
                building.at_end(old, f"REFRESH MATERIALIZED VIEW {old.name};")

    def _alter(
        self, old: SchemaObject, new: SchemaObject, changed: set[str], *, is_rebuilt_enum: bool
    ) -> Iterator[Step]:
        specific = changed - GENERIC
        if old.kind is ObjectKind.COLUMN:
            yield from self._alter_column(old, new, specific)
            return
        if old.kind is ObjectKind.TYPE and "labels" in specific:
            for statement in [] if is_rebuilt_enum else renamed_labels(old, new) or []:
                yield When.BUILD, statement
            specific -= {"labels"}
        if old.kind in (ObjectKind.FUNCTION, ObjectKind.PROCEDURE, ObjectKind.VIEW) and specific:
            yield from self._replace(old)
            return
        if old.kind is ObjectKind.DEFAULT_PRIVILEGES:
            yield from self._alter_default_privileges(old, new)
            return
        if specific & {"partition bound", "inherits"}:
            yield from self._alter_parents(old, new)
            specific -= {"partition bound", "inherits", "detach pending"}
        done_together: set[str] = set()
        sequence = {"type", "start", "increment", "minimum", "maximum", "cache", "cycle"}
        for attribute in sorted(specific):
            if old.kind is ObjectKind.SEQUENCE and attribute in sequence:
                if done_together:
                    continue
                done_together = sequence
            if attribute != "replica identity" or not old.attributes.get(attribute, "").startswith("using index"):
                yield from alter(old, new, attribute)

    def _alter_column(self, old: SchemaObject, new: SchemaObject, changed: set[str]) -> Iterator[Step]:
        relation = self.what.relation(self.what.before, old.relation)
        if relation is None or relation.kind in VIEWS:
            if relation is not None and "default" in changed:
                default = f"SET DEFAULT {old.attributes['default']}" if "default" in old.attributes else "DROP DEFAULT"
                yield When.BUILD, f"ALTER VIEW {old.relation} ALTER COLUMN {old.name} {default};"
            return
        if old.attributes.get("not null") == "yes, not valid" and new.attributes.get("not null") == "yes":
            yield from self._unvalidated_not_null(old)
            changed = changed - {"not null"}
        recursing = {"type", "collation", "not null"}
        if changed & recursing and self.what.is_inherited(
            old,
            self.what.before,
            lambda parent: any(each is parent and more & recursing for each, _, more in self.what.kept),
        ):
            changed = changed - recursing
        yield from alter_column(old, new, changed, server_major=self.what.before.server_major)

    def _unvalidated_not_null(self, old: SchemaObject) -> Iterator[Step]:
        ending = f" NOT NULL {old.name} NOT VALID;"
        for entry in self.what.definitions.entries:
            if self.what.definitions.belongings.get((entry.class_oid, entry.oid)) == old.oid and entry.sql.endswith(
                ending
            ):
                yield When.BUILD, f"ALTER TABLE {old.relation} ALTER COLUMN {old.name} DROP NOT NULL;"
                yield When.AFTER_ROWS, entry.sql
                return
        yield cannot(old, "not null")

    def _alter_generic(self, building: Building, old: SchemaObject, new: SchemaObject, changed: set[str]) -> None:
        if "replica identity" in changed and old.attributes.get("replica identity", "").startswith("using index"):
            self._restore_replica_identity(building, old)
        if "owner" in changed:
            building.at_end(old, ddl.owner(old, old.attributes["owner"]))
        if "grants" in changed and old.kind not in (ObjectKind.DEFAULT_PRIVILEGES, ObjectKind.SYSTEM_OBJECT):
            for statement in ddl.grants(old, had=new.attributes.get("grants")):
                building.at_end(old, statement)
        elif "grants" in changed and old.kind is ObjectKind.SYSTEM_OBJECT:
            self.what.impossible.append(cannot(old, "grants").sentence)
        if "comment" in changed:
            building.at_end(old, ddl.comment(old, old.attributes.get("comment")))

    def _replace(self, old: SchemaObject) -> Iterator[Step]:
        definition = old.attributes["definition"]
        if old.kind is not ObjectKind.VIEW:
            yield When.BUILD, f"{definition.strip()};"  # pg_get_functiondef writes CREATE OR REPLACE
            return
        options = f" WITH ({old.attributes['options']})" if "options" in old.attributes else ""
        yield When.BUILD, f"CREATE OR REPLACE VIEW {old.name}{options} AS {definition.strip()}"

    def _alter_default_privileges(self, old: SchemaObject, new: SchemaObject) -> Iterator[Step]:
        before, after = old.attributes.get("grants"), new.attributes.get("grants")
        for statement in ddl.default_privileges(old, before=before, after=after):
            yield When.AFTER_ROWS, statement

    def _alter_parents(self, old: SchemaObject, new: SchemaObject) -> Iterator[Step]:
        there, wanted = new.attributes.get("inherits", ""), old.attributes.get("inherits", "")
        if "partition bound" in new.attributes:
            yield When.TEAR_DOWN, f"ALTER TABLE {there} DETACH PARTITION {new.name};"
        elif there:
            for parent in there.split(", "):
                yield When.TEAR_DOWN, f"ALTER TABLE {new.name} NO INHERIT {parent};"
        if "partition bound" in old.attributes:
            bound = old.attributes["partition bound"]
            yield When.AFTER_ROWS, f"ALTER TABLE {wanted} ATTACH PARTITION {old.name} {bound};"
        elif wanted:
            for parent in wanted.split(", "):
                yield When.AFTER_ROWS, f"ALTER TABLE {old.name} INHERIT {parent};"

    def _restore_replica_identity(self, building: Building, old: SchemaObject) -> None:
        text = f"{old.name} REPLICA IDENTITY USING INDEX "
        for entry in self.what.definitions.entries:
            if text in entry.sql:
                index = entry.sql.split(text, 1)[1].split(";", 1)[0]
                building.at_end(old, f"ALTER TABLE ONLY {text}{index};")
                return
        self.what.impossible.append(cannot(old, "replica identity").sentence)

    def _rebuild_enum(self, building: Building, old: SchemaObject, new: SchemaObject) -> None:
        """No statement takes a label away: the type is made anew, and every column of it is moved over."""
        if not only_added_labels(old, new):
            self.what.impossible.append(f"labels of {old.name} were both renamed and added")
            return
        building.put(old, When.BUILD, f"ALTER TYPE {old.name} RENAME TO {_aside(new).split('.')[-1]};")
        building.create(old)
        for column, column_now, node in self.what.columns_of_type(old):
            if node in self.what.rebuilt or self.what.is_inherited(column, self.what.before, lambda _: True):
                continue
            only = f"ALTER TABLE ONLY {column.relation} ALTER COLUMN {column.name}"
            if "default" in column_now.attributes:
                self.tear_down.append(f"{only} DROP DEFAULT;")
            building.put(column, When.BUILD, retype(column, column_now, through_text=True))
            if "default" in column.attributes:
                building.put(column, When.BUILD, f"{only} SET DEFAULT {column.attributes['default']};")

    # --- building --------------------------------------------------------------------------------------------------

    def _build(self, building: Building, old: SchemaObject) -> None:
        if old.kind is ObjectKind.COLUMN:
            relation = self.what.relation(self.what.before, old.relation)
            if relation is None or relation.kind in VIEWS or relation in self.what.removed:
                return
            if self.what.is_inherited(old, self.what.before, lambda column: column in self.what.removed):
                return
            for step in add_column(old):
                self._take(building, old, step)
            building.describe(old)
            return
        if old.kind is ObjectKind.DEFAULT_PRIVILEGES:
            for statement in ddl.default_privileges(old, before=old.attributes.get("grants"), after=None):
                building.put(old, When.AFTER_ROWS, statement)
            return
        if old.kind is ObjectKind.TRIGGER and "definition" not in old.attributes:
            enabling = ddl.enabling(old.attributes)
            building.put(old, When.AFTER_ROWS, f"ALTER TABLE {old.relation} {enabling} TRIGGER {old.name};")
            return
        made_within = old.kind in MADE_WITH_THEIR_RELATION and not building.stands_alone(old)
        if made_within and any(each.name == old.relation for each in self._made_again()):
            return
        building.create(old, parent_stays=self._parent_stays(old))

    def _made_again(self) -> Iterator[SchemaObject]:
        yield from self.what.removed
        yield from (old for old, _ in self.what.rebuilt.values())

    def _carry_position(self, building: Building, old: SchemaObject, new: SchemaObject, number: int) -> None:
        """A sequence that another replaced goes on where that one stands."""
        at = f"'pgrehearse.position_{number}'"
        self.positions.append(
            f"SELECT pg_catalog.set_config({at}, last_value::text || ' ' || is_called::text, true) FROM {new.name};"  # noqa: S608  quoted by the server
        )
        text = f"pg_catalog.split_part(pg_catalog.current_setting({at}), ' ', "
        position = f"{text}1)::bigint, {text}2)::boolean"
        building.at_end(old, f"SELECT pg_catalog.setval({ddl.literal(old.name)}, {position});")

    def _parent_stays(self, old: SchemaObject) -> bool:
        """A partition that comes back below a table which is still there is attached only when it is whole."""
        parents = (old.attributes.get("inherits") or "").split(", ")
        return "partition bound" in old.attributes and not any(each.name in parents for each in self.what.removed)

    def _take(self, building: Building, old: SchemaObject, step: Step) -> None:
        if isinstance(step, Impossible):
            self.what.impossible.append(step.sentence)
        elif step[0] is When.TEAR_DOWN:
            self.tear_down.append(step[1])
        else:
            building.put(old, *step)

    def _new_grantees(self) -> set[str]:
        """Who gets rights on whatever is made: by default privileges, as they are or were."""
        grantees: set[str] = set()
        for schema in (self.what.before, self.what.after):
            for found in schema.of_kind(ObjectKind.DEFAULT_PRIVILEGES):
                grantees |= {grantee for grantee, _, _ in ddl.parse_grants(found.attributes.get("grants"))}
        return grantees


def _aside(enum: SchemaObject) -> str:
    namespace, name, _ = ddl.split_name(enum.name)
    plain = "".join(letter for letter in name if letter.isalnum())[:40]
    return f'{namespace}."{ASIDE}{plain}"'
