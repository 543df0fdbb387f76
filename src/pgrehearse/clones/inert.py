"""A clone reaches nobody: what could act outside its own database is switched off, and told.

Left out of the restore: subscriptions and user mappings (with the passwords in them).  Switched off after
the definitions are there and before any data is: options of foreign servers, programs behind foreign
tables.  After the data: jobs of schedulers.  Event triggers stay, since a migration meets them.
"""

from dataclasses import dataclass

from psycopg import sql

from pgrehearse.clones.dump_restore import ContentsEntry
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

# Where libpq looks for a server that is not there: with no host it would try this machine's own.
NOWHERE = {"host": "/nonexistent/pgrehearse", "port": "1", "dbname": "pgrehearse"}
LIBPQ_WRAPPERS = frozenset({"postgres_fdw", "dblink_fdw"})
WITHOUT_TRIGGERS = """
SELECT pg_catalog.set_config('session_replication_role', 'replica', true)
WHERE pg_catalog.current_setting('is_superuser') = 'on'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedOff:
    """One thing that reaches outward in production and does not on the clone."""

    kind: str  # "subscription", "user mapping", "foreign server", "foreign table", "job"
    name: str
    how: str

    def as_json(self) -> dict[str, str]:
        return {"kind": self.kind, "name": self.name, "how": self.how}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outward:
    """What in the source reaches outward, as read in the snapshot."""

    subscriptions: tuple[str, ...]
    user_mappings: tuple[tuple[str, str], ...]  # server, user
    foreign_matviews: tuple[tuple[str, str], ...]  # namespace, name
    extensions: tuple[str, ...]  # whose functions reach outward when they are called, and are not known one by one
    populated_matviews: tuple[tuple[str, str], ...] = ()  # namespace, name; of all that can be filled here

    def restores_definitions(self, entry: ContentsEntry) -> bool:
        """Whether this line may be restored where materialized views are filled later, one by one."""
        return entry.kind != "MATERIALIZED VIEW DATA" and self.restores(entry)

    def restores(self, entry: ContentsEntry) -> bool:
        """Whether this line of the dump's table of contents may be restored."""
        if entry.kind in {"USER MAPPING", "SUBSCRIPTION", "SUBSCRIPTION TABLE"}:
            return False
        if entry.kind == "MATERIALIZED VIEW DATA":
            # pg_restore prints line breaks in names as spaces
            names = {f" {namespace} {name} ".replace("\n", " ") for namespace, name in self.foreign_matviews}
            return not any(f"MATERIALIZED VIEW DATA{name}" in f"{entry.line} " for name in names)
        return True

    def switched_off(self) -> tuple[SwitchedOff, ...]:
        left_out = [SwitchedOff(kind="subscription", name=name, how="not restored") for name in self.subscriptions]
        left_out += [
            SwitchedOff(kind="user mapping", name=f"{user} on {server}", how="not restored")
            for server, user in self.user_mappings
        ]
        left_out += [
            SwitchedOff(kind="materialized view", name=f"{namespace}.{name}", how="not populated")
            for namespace, name in self.foreign_matviews
        ]
        return tuple(left_out)

    def not_measured(self) -> tuple[str, ...]:
        """What could not be switched off, or not be copied."""
        told = [f"extension {name}: its functions reach outward when something calls them" for name in self.extensions]
        told += [
            f"materialized view {namespace}.{name} is not populated on the clone: it reads a foreign table"
            for namespace, name in self.foreign_matviews
        ]
        return tuple(told)


def read_outward(connection: Connection) -> Outward:
    """Read from the source what a clone must not do.  Six small catalog queries."""
    foreign = tuple((row[0], row[1]) for row in connection.execute(QUERIES["foreign_matviews"]))
    populated = [(row[0], row[1]) for row in connection.execute(QUERIES["populated_matviews"])]
    return Outward(
        subscriptions=tuple(row[0] for row in connection.execute(QUERIES["subscriptions"])),
        user_mappings=tuple((row[0], row[1]) for row in connection.execute(QUERIES["user_mappings"])),
        foreign_matviews=foreign,
        populated_matviews=tuple(name for name in populated if name not in foreign),
        extensions=tuple(row[0] for row in connection.execute(QUERIES["outward_extensions"])),
    )


def switch_off_servers(connection: Connection) -> tuple[SwitchedOff, ...]:
    """Point every foreign server nowhere, and foreign tables' programs too.  In the copy, before its data."""
    done = []
    with connection.transaction():
        for name, wrapper, options in connection.execute(QUERIES["servers"]).fetchall():
            given = {option.split("=", 1)[0] for option in options}
            wanted = NOWHERE if wrapper in LIBPQ_WRAPPERS else {}
            keep = {"use_remote_estimate", "fetch_size", "batch_size", "async_capable", "updatable", "truncatable"}
            changes: list[sql.Composable] = [
                sql.SQL("DROP {}").format(sql.Identifier(option)) for option in sorted(given - set(wanted) - keep)
            ]
            for option, value in wanted.items():
                change = sql.SQL("SET {} {}" if option in given else "ADD {} {}")
                changes.append(change.format(sql.Identifier(option), sql.Literal(value)))
            if changes:
                statement = sql.SQL("ALTER SERVER {} OPTIONS ({})")
                connection.execute(statement.format(sql.Identifier(name), sql.SQL(", ").join(changes)))
                done.append(SwitchedOff(kind="foreign server", name=name, how="its options point nowhere"))
        for namespace, name in connection.execute(QUERIES["programs"]).fetchall():
            connection.execute(
                sql.SQL("ALTER FOREIGN TABLE {} OPTIONS (DROP program, ADD filename {})").format(
                    sql.Identifier(namespace, name), sql.Literal(NOWHERE["host"])
                )
            )
            done.append(SwitchedOff(kind="foreign table", name=f"{namespace}.{name}", how="its program is not run"))
    return tuple(done)


def switch_off_jobs(connection: Connection) -> tuple[SwitchedOff, ...]:
    """Make schedulers' jobs inactive.  In the copy, after its data.

    Without firing triggers where the session may say so (a superuser may): they could be what reaches outward.
    """
    done = []
    for namespace, name, column in connection.execute(QUERIES["jobs"]).fetchall():
        switch = sql.Identifier(column)
        with connection.transaction():
            connection.execute(WITHOUT_TRIGGERS)
            updated = connection.execute(
                sql.SQL("UPDATE {} SET {} = false WHERE {}").format(sql.Identifier(namespace, name), switch, switch)
            )
        if updated.rowcount:
            how = f"{updated.rowcount} made inactive"
            done.append(SwitchedOff(kind="job", name=f"{namespace}.{name}", how=how))
    return tuple(done)
