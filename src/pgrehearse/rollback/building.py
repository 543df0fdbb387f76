"""Objects made again: the entries of a dump that belong to each, in the dump's own order."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pgrehearse.rollback import ddl
from pgrehearse.rollback.alterations import When
from pgrehearse.rollback.definitions import PG_CLASS, Definitions, Entry, Node, node_of
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

# pg_dump's own third section, and what it writes there, waits for the rows; indexes are then built once.
AFTER_ROWS = frozenset(
    {
        "CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "INDEX", "INDEX ATTACH", "TRIGGER", "POLICY", "ROW SECURITY",
        "RULE", "STATISTICS", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "EVENT TRIGGER",
        "DEFAULT ACL",
    }
)  # fmt: skip
SUBORDINATE = frozenset({"COMMENT", "SECURITY LABEL", "SEQUENCE OWNED BY"})
GRANTABLE = ddl.RELATIONS | ddl.ROUTINES | {
    ObjectKind.TYPE, ObjectKind.DOMAIN, ObjectKind.SCHEMA, ObjectKind.LANGUAGE, ObjectKind.FOREIGN_DATA_WRAPPER,
    ObjectKind.SERVER,
}  # fmt: skip
END = 1 << 30
_REFERENCES = re.compile(rf" REFERENCES ({ddl.IDENTIFIER}\.{ddl.IDENTIFIER})\(")


@dataclass(slots=True, kw_only=True)
class Building:
    """The statements that make and alter, each at its object's place in the dump's order."""

    before: Schema
    definitions: Definitions
    say: Callable[[str], None]  # what cannot be made again
    come_back: frozenset[str]  # tables that are made again, and are empty then
    _placed: list[tuple[When, float, int, str]] = field(default_factory=list)
    _made: list[SchemaObject] = field(default_factory=list)
    _taken: set[int] = field(default_factory=set)
    _by_node: dict[tuple[int, int], list[Entry]] = field(default_factory=dict)
    _subordinate: dict[int, list[Entry]] = field(default_factory=dict)
    _of_relation: dict[int, list[Entry]] = field(default_factory=dict)
    _attachments: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    _relation_nodes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_node: dict[tuple[int, int], list[Entry]] = defaultdict(list)
        subordinate: dict[int, list[Entry]] = defaultdict(list)
        of_relation: dict[int, list[Entry]] = defaultdict(list)
        for entry in self.definitions.entries:
            if entry.class_oid:
                by_node[entry.class_oid, entry.oid].append(entry)
            if entry.type in SUBORDINATE:
                for identifier in entry.dependencies:
                    subordinate[identifier].append(entry)
            elif entry.type == "ROW SECURITY":
                of_relation[entry.oid].append(entry)
            elif entry.type in ("TABLE ATTACH", "INDEX ATTACH"):
                self._attachments[entry.type, entry.namespace, entry.name] = entry
            relation = self.definitions.belongings.get((entry.class_oid, entry.oid))
            if relation is not None:
                of_relation[relation].append(entry)
        self._by_node, self._subordinate, self._of_relation = by_node, subordinate, of_relation
        for found in self.before.of_kind(*ddl.RELATIONS, ObjectKind.DOMAIN):
            if (node := node_of(found)) is not None:
                self._relation_nodes[found.name] = node[:2]

    def of(self, when: When) -> Iterator[str]:
        """The statements of one step, in order."""
        for _, _, _, statement in sorted(placed for placed in self._placed if placed[0] is when):
            yield statement

    def put(self, found: SchemaObject, when: When, statement: str) -> None:
        """At the place of the object, or of the relation that it belongs to."""
        self._place(when, self._position(found), statement)

    def at_end(self, found: SchemaObject, statement: str) -> None:
        """Owners, rights and comments, once all is there."""
        self._place(When.AFTER_ROWS, END + self._position(found), statement)

    def create(self, found: SchemaObject, *, parent_stays: bool = False) -> None:
        """Everything that the dump holds of it: itself, its parts on partitions, its comments, its attachments."""
        node = node_of(found)
        entries = self._entries(found, node) if node is not None else []
        if not entries and found.kind is ObjectKind.CAST:
            return  # its type makes it
        if not entries and not self._create_constraint(found) and not self._create_public(found):
            self.say(f"{found.kind.value} {found.identity} stands in no dump, and cannot be made again")
            return
        self._made.append(found)
        whole_at = max((entry.position for entry in entries), default=0)
        for entry in entries:
            self._take(entry, found, parent_stays=parent_stays, whole_at=whole_at)
        if found.kind is ObjectKind.MATERIALIZED_VIEW and found.oid in self.definitions.populated:
            self._place(When.AFTER_ROWS, self._position(found), f"REFRESH MATERIALIZED VIEW {found.name};")

    def stands_alone(self, found: SchemaObject) -> bool:
        """Whether the dump makes it by a statement of its own, not within its relation's."""
        node = node_of(found)
        return node is not None and bool(self._by_node.get(node[:2]))

    def describe(self, found: SchemaObject) -> None:
        """Comment and rights of what no dump's entry stands for (a column)."""
        if "comment" in found.attributes:
            self.at_end(found, ddl.comment(found, found.attributes["comment"]))
        if "grants" in found.attributes:
            for statement in ddl.grants(found, had=None):
                self.at_end(found, statement)

    def settle_grants(self, bystanders: set[str]) -> None:
        """The rights of all that was made, exactly: default privileges may have given others some."""
        made = {found.name for found in self._made if found.kind in ddl.RELATIONS}
        for found in self._made:
            if found.kind in GRANTABLE and ("grants" in found.attributes or bystanders):
                for statement in ddl.grants(found, had=None, bystanders=bystanders):
                    self.at_end(found, statement)
        for column in self.before.of_kind(ObjectKind.COLUMN):
            if column.relation in made and "grants" in column.attributes:
                for statement in ddl.grants(column, had=None):
                    self.at_end(column, statement)

    def _entries(self, found: SchemaObject, node: Node) -> list[Entry]:
        entries = list(self._by_node.get(node[:2], ()))
        if node[0] == PG_CLASS:
            entries += self._of_relation.get(node[1], ())
        for entry in list(entries):
            entries += self._parts(entry)
        for entry in list(entries):
            entries += self._subordinate.get(entry.id, ())
            if entry.type in ("TABLE", "FOREIGN TABLE", "INDEX", "CONSTRAINT"):
                entries += self._attachments_of(entry)
        if found.kind is ObjectKind.PUBLICATION:
            entries += [e for e in self.definitions.entries if e.type.startswith("PUBLICATION TABLE") and
                        e.name.startswith(f"{found.name} ")]  # fmt: skip
        return entries

    def _attachments_of(self, entry: Entry) -> Iterator[Entry]:
        """By name, since the dump tells no more: a constraint's stands behind its table's, and may hold spaces."""
        words = entry.name.split(" ")
        names = [" ".join(words[start:]) for start in range(len(words))]
        for kind in ("TABLE ATTACH", "INDEX ATTACH"):
            for name in names:
                if (attachment := self._attachments.get((kind, entry.namespace, name))) is not None:
                    yield attachment

    def _parts(self, entry: Entry) -> list[Entry]:
        found = []
        for part in self.definitions.parts.get((entry.class_oid, entry.oid), ()):
            for each in self._by_node.get(part, ()):
                found += [each, *self._parts(each)]
        return found

    def _take(self, entry: Entry, found: SchemaObject, *, parent_stays: bool, whole_at: int) -> None:
        if entry.id in self._taken:
            return
        self._taken.add(entry.id)
        if parent_stays and entry.type == "INDEX ATTACH":
            return  # attaching the table finds its indexes
        when = When.AFTER_ROWS if entry.type in AFTER_ROWS else When.BUILD
        if self._holds_at_once(entry, found):
            when = When.BUILD
        position: float = entry.position
        if entry.type == "TABLE ATTACH" and parent_stays:
            when, position = When.AFTER_ROWS, whole_at + 0.5
        if found.kind is ObjectKind.SEQUENCE and found.attributes.get("owned by", "").endswith("(identity)"):
            when = When.AFTER_ROWS
        if entry.type in SUBORDINATE and (entry.type == "COMMENT"):
            when, position = When.AFTER_ROWS, END + position
        sql = entry.sql
        if entry.access_method is not None and entry.type in ("TABLE", "MATERIALIZED VIEW"):
            method = ddl.identifier(entry.access_method.strip('"'))
            setting = "SET LOCAL default_table_access_method"
            sql = f"{setting} = {method};\n{sql}\n{setting} = heap;"
        self._place(when, position, sql)

    def _holds_at_once(self, entry: Entry, found: SchemaObject) -> bool:
        """What an empty table promises can be there before its rows: one that breaks it now is then told apart.

        Not a foreign key to another table that comes back: in a circle, neither could be filled first.
        """
        if found.kind is not ObjectKind.TABLE or {"partition key", "partition bound"} & found.attributes.keys():
            return False
        if entry.type == "FK CONSTRAINT":
            parent = _REFERENCES.search(entry.sql)
            return parent is not None and parent[1] not in self.come_back
        return entry.type == "CONSTRAINT" or (entry.type == "INDEX" and entry.sql.startswith("CREATE UNIQUE "))

    def _create_constraint(self, found: SchemaObject) -> bool:
        """A check that pg_dump wrote inside its table's or domain's own statement."""
        if found.kind not in (ObjectKind.CONSTRAINT, ObjectKind.DOMAIN_CONSTRAINT):
            return False
        word = "TABLE" if found.kind is ObjectKind.CONSTRAINT else "DOMAIN"
        ending = " NOT VALID" if "not valid" in found.attributes else ""
        definition = found.attributes["definition"]
        self.put(
            found, When.AFTER_ROWS, f"ALTER {word} {found.relation} ADD CONSTRAINT {found.name} {definition}{ending};"
        )
        if "comment" in found.attributes:
            self.at_end(found, ddl.comment(found, found.attributes["comment"]))
        return True

    def _create_public(self, found: SchemaObject) -> bool:
        """The namespace that every database begins with, of which pg_dump writes only what is unusual."""
        if found.kind is not ObjectKind.SCHEMA:
            return False
        self.put(found, When.BUILD, f"CREATE SCHEMA {found.name};\n{ddl.owner(found, found.attributes['owner'])}")
        if "comment" in found.attributes:
            self.at_end(found, ddl.comment(found, found.attributes["comment"]))
        return True

    def _position(self, found: SchemaObject) -> float:
        node = node_of(found)
        if node is not None and (entries := self._by_node.get(node[:2])):
            return entries[0].position
        relation = self._relation_nodes.get(found.relation or "")
        entries = self._by_node.get(relation, []) if relation is not None else []
        return entries[0].position if entries else -1

    def _place(self, when: When, position: float, statement: str) -> None:
        self._placed.append((when, position, len(self._placed), statement))
