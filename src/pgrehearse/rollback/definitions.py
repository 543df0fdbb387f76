"""The text that pg_dump itself writes for each object of a database, and who depends on whom there."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgrehearse.errors import CloneFailed
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.schema.schema_object import ObjectKind, SchemaObject

QUERIES = named_queries(__file__)
DUMP_TIMEOUT_S = 600
LOCK_WAIT_MS = 60_000

Node = tuple[int, int, int]
"""(class, oid, column): an object as pg_depend names it; the column is 0 but for a column."""

PG_CLASS, PG_CONSTRAINT = 1259, 2606
# The oids of the catalogs are the same in every version (src/include/catalog/*.h).
CLASSES: Mapping[ObjectKind, int] = {
    ObjectKind.SCHEMA: 2615,
    ObjectKind.EXTENSION: 3079,
    ObjectKind.TABLE: PG_CLASS,
    ObjectKind.FOREIGN_TABLE: PG_CLASS,
    ObjectKind.VIEW: PG_CLASS,
    ObjectKind.MATERIALIZED_VIEW: PG_CLASS,
    ObjectKind.COLUMN: PG_CLASS,
    ObjectKind.INDEX: PG_CLASS,
    ObjectKind.SEQUENCE: PG_CLASS,
    ObjectKind.CONSTRAINT: PG_CONSTRAINT,
    ObjectKind.DOMAIN_CONSTRAINT: PG_CONSTRAINT,
    ObjectKind.TRIGGER: 2620,
    ObjectKind.POLICY: 3256,
    ObjectKind.RULE: 2618,
    ObjectKind.FUNCTION: 1255,
    ObjectKind.PROCEDURE: 1255,
    ObjectKind.AGGREGATE: 1255,
    ObjectKind.TYPE: 1247,
    ObjectKind.DOMAIN: 1247,
    ObjectKind.STATISTICS: 3381,
    ObjectKind.DEFAULT_PRIVILEGES: 826,
    ObjectKind.EVENT_TRIGGER: 3466,
    ObjectKind.PUBLICATION: 6104,
    ObjectKind.PUBLICATION_RELATION: 6106,
    ObjectKind.FOREIGN_DATA_WRAPPER: 2328,
    ObjectKind.SERVER: 1417,
    ObjectKind.CAST: 2605,
    ObjectKind.OPERATOR: 2617,
    ObjectKind.OPERATOR_FAMILY: 2753,
    ObjectKind.OPERATOR_CLASS: 2616,
    ObjectKind.COLLATION: 3456,
    ObjectKind.CONVERSION: 2607,
    ObjectKind.TEXT_SEARCH_CONFIGURATION: 3602,
    ObjectKind.TEXT_SEARCH_DICTIONARY: 3600,
    ObjectKind.TEXT_SEARCH_PARSER: 3601,
    ObjectKind.TEXT_SEARCH_TEMPLATE: 3764,
    ObjectKind.LANGUAGE: 2612,
    ObjectKind.TRANSFORM: 3576,
    ObjectKind.ACCESS_METHOD: 2601,
}

_HEADER = re.compile(
    r"^--\n-- TOC entry (?P<id>\d+) \(class (?P<class>\d+) OID (?P<oid>\d+)\)\n"
    r"(?:-- Dependencies: (?P<dependencies>[\d ]+)\n)?"
    r"-- Name: (?P<name>.*?); Type: (?P<type>[A-Z ]+?); Schema: (?P<namespace>.*?); Owner: .*\n--\n",
    re.MULTILINE,
)
_END = re.compile(r"^(?:-- Completed on .*\n\n)?--\n-- PostgreSQL database dump complete\n--\n", re.MULTILINE)
_SETTING = re.compile(r"^SET (default_\w+) = (.*);$", re.MULTILINE)
_SETTINGS_AT_END = re.compile(r"(?:\n+SET default_\w+ = [^\n]*;)+\s*\Z")


def node_of(found: SchemaObject) -> Node | None:
    """The object as pg_depend names it; None for one that no dump's entry stands for."""
    if found.kind not in CLASSES or found.oid is None:
        return None
    return (CLASSES[found.kind], found.oid, found.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a dump's table of contents, and the SQL that makes it (several statements, often)."""

    position: int  # in the dump's order: whatever it needs stands before it
    id: int
    class_oid: int  # 0 for a comment, rights, an attachment
    oid: int
    dependencies: tuple[int, ...]  # ids; told only for comments, rights and ownership
    type: str  # TABLE, COMMENT, ACL, TABLE ATTACH …
    namespace: str
    name: str
    sql: str
    access_method: str | None  # that new tables must get here, where it is not heap


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """A database's dump without its rows, entry by entry."""

    entries: tuple[Entry, ...]
    belongings: Mapping[tuple[int, int], int]  # default, index, constraint -> its relation's oid
    parts: Mapping[tuple[int, int], tuple[tuple[int, int], ...]]  # of a partitioned index or constraint
    populated: frozenset[int]  # materialized views


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependents:
    """Who depends on whom, and which materialized views can be read."""

    of: Mapping[tuple[int, int], tuple[tuple[int, Node], ...]]  # (class, oid) -> (its column or 0, who depends)
    part_of: Mapping[Node, Node]  # what another object made for itself, and goes with it
    populated: frozenset[int]  # materialized views

    def reach(self, seeds: Iterable[Node], *, keep: "frozenset[Node] | None" = None) -> dict[Node, None]:
        """Everything that depends on the seeds, directly or not, without the seeds; a column is not followed further.

        ``keep`` are nodes that stay as they are although they depend.
        """
        found: dict[Node, None] = {}
        waiting = list(seeds)
        known = set(waiting)
        while waiting:
            class_oid, oid, column = waiting.pop()
            for used, node in self.of.get((class_oid, oid), ()):
                if (column and used != column) or node in known or (keep is not None and node in keep):
                    continue
                known.add(node)
                found[node] = None
                if not node[2]:
                    waiting.append(node)
        return found


def read_definitions(database: Conninfo, session: Connection) -> Definitions:
    """One run of `pg_dump --schema-only` and three catalog queries.  Locks: pg_dump's ACCESS SHARE.

    Raises `CloneFailed` (exit 3) when pg_dump does not end well.
    """
    belongings = {(class_oid, oid): relation for class_oid, oid, relation in session.execute(QUERIES["belongings"])}
    parts: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for class_oid, whole, part in session.execute(QUERIES["parts"]):
        parts[class_oid, whole].append((class_oid, part))
    return Definitions(
        entries=parse_dump(_dump(database, session.info.server_version // 10000)),
        belongings=belongings,
        parts={whole: tuple(found) for whole, found in parts.items()},
        populated=frozenset(oid for (oid,) in session.execute(QUERIES["populated"])),
    )


def read_dependents(session: Connection) -> Dependents:
    """Two catalog queries; about 1 µs per dependency on the server, three here."""
    edges: dict[tuple[int, int], list[tuple[int, Node]]] = defaultdict(list)
    part_of: dict[Node, Node] = {}
    for class_oid, oid, column, of_class, of_oid, of_column, is_part in session.execute(QUERIES["depending"]):
        node, of_node = (class_oid, oid, column), (of_class, of_oid, of_column)
        if node != of_node:
            edges[of_class, of_oid].append((of_column, node))
            if is_part:
                part_of[node] = of_node
    return Dependents(
        of={node: tuple(found) for node, found in edges.items()},
        part_of=part_of,
        populated=frozenset(oid for (oid,) in session.execute(QUERIES["populated"])),
    )


def parse_dump(text: str) -> tuple[Entry, ...]:
    """The entries of a plain, verbose dump, in its order."""
    heads = list(_HEADER.finditer(text))
    if not heads:
        return ()
    end = _END.search(text, heads[-1].end())
    stops = [head.start() for head in heads[1:]] + [len(text) if end is None else end.start()]
    access_method = _access_method(text[: heads[0].start()], None)
    entries = []
    for position, (head, stop) in enumerate(zip(heads, stops, strict=True)):
        body = text[head.end() : stop]
        entries.append(
            Entry(
                position=position,
                id=int(head["id"]),
                class_oid=int(head["class"]),
                oid=int(head["oid"]),
                dependencies=tuple(map(int, (head["dependencies"] or "").split())),
                type=head["type"],
                namespace=head["namespace"],
                name=head["name"],
                sql=_SETTINGS_AT_END.sub("", body).strip(),
                access_method=access_method,
            )
        )
        settings = _SETTINGS_AT_END.search(body)
        access_method = _access_method(settings[0] if settings else "", access_method)
    return tuple(entries)


def _access_method(settings: str, current: str | None) -> str | None:
    """pg_dump sets it between two entries, for the next ones."""
    for name, value in _SETTING.findall(settings):
        if name == "default_table_access_method":
            current = None if value in ("heap", "''") else value
    return current


def _dump(database: Conninfo, major: int) -> str:
    address, environment = database.for_child()
    arguments: Sequence[str] = (
        require_client(major).program("pg_dump"), "--schema-only", "--verbose", "--no-subscriptions",
        "--no-tablespaces", "--no-password", f"--lock-wait-timeout={LOCK_WAIT_MS}", "--encoding=UTF8",
        f"--dbname={address}",
    )  # fmt: skip
    environment = {**environment, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=DUMP_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CloneFailed(f"pg_dump of {database.address} did not end: {type(error).__name__}") from error
    if done.returncode != 0:
        told = [line for line in done.stderr.decode(errors="replace").splitlines() if "error:" in line]
        raise CloneFailed(
            scrub(f"pg_dump of {database.address} failed: {told[0] if told else done.returncode}", database)
        )
    return done.stdout.decode()
