"""Functions that reach another server raise an error on a clone, and each call of one is counted.

A function of an extension is replaced where it is: its row in pg_proc gets another body, so that its oid, signature,
rights and membership stay, and neither a dump nor a comparison of schemas sees a difference.  An error can be caught
by what called the function, so each call first moves a sequence on, which no ROLLBACK takes back.

The handler of a foreign-data wrapper is such a function: the server calls it before it plans to read or write a foreign
table (GetFdwRoutine of foreign.c), and keeps what it returned for the session only if it did return.  PL/pgSQL has no
function that returns fdw_handler, so a replaced one returns void, which nobody looks at then.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.clones.inert import SwitchedOff
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

# Extensions whose functions reach outward, and which of their functions do.  Those not named need a connection that
# one of these makes, or only compute.  A library's functions that somebody declared by hand count, all of them.
OUTWARD_FUNCTIONS: Mapping[str, str] = {
    "dblink": "dblink(_connect(_u)?|_exec|_open|_send_query)?",
    "http": "http(_(get|post|put|patch|delete|head))?",
    "pgsql_http": "http(_(get|post|put|patch|delete|head))?",
    "pg_net": "_?http_.*",
    "pg_curl": ".*",
    "aws_s3": ".*",
    "aws_lambda": ".*",
    "aws_ml": ".*",
    "azure_storage": ".*",
    "plproxy": ".*",
    "pgmemcache": ".*",
    "redis": ".*",
    "amqp": ".*",
}
SWITCHED_OFF = "PGR01"  # the SQLSTATE of a function that raises instead of reaching out
# In a namespace that every database has, everybody may use, and neither pg_dump nor a comparison looks at.
NAMESPACE = "information_schema"
COUNTER_PREFIX = "pgrehearse_calls_"
IS_SUPERUSER = "SELECT pg_catalog.current_setting('is_superuser') = 'on'"
TO_ANOTHER_SERVER = "reaches another server"
BEYOND_DATABASE = "reaches beyond the database"  # a file of the server's machine, too
WRAPPER = "foreign-data wrapper "  # how its handler is named; the name of any other function has no space unquoted

CREATE_COUNTER = "CREATE SEQUENCE IF NOT EXISTS {counter}"
GRANT_COUNTER = "GRANT USAGE ON SEQUENCE {counter} TO PUBLIC"
COMMENT_COUNTER = "COMMENT ON SEQUENCE {counter} IS {name}"
BODY = """
BEGIN
    BEGIN
        PERFORM pg_catalog.nextval({counter});
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RAISE EXCEPTION USING ERRCODE = {code}, MESSAGE = {message};
END
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutwardFunction:
    """One function that reaches outward, as it was."""

    oid: int
    name: str  # several may share it
    of: str  # its extension or library
    does: str = TO_ANOTHER_SERVER

    @property
    def is_handler(self) -> bool:
        """A foreign-data wrapper's, which the server calls; nobody names it."""
        return self.name.startswith(WRAPPER)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeInert:
    """What became of the functions that reach outward."""

    functions: tuple[OutwardFunction, ...] = ()  # replaced
    left: tuple[OutwardFunction, ...] = ()  # that this session may not replace: only a superuser may

    @property
    def found(self) -> bool:
        """Whether there is any, so that what is filled by a query must be filled one by one."""
        return bool(self.functions or self.left)

    def switched_off(self) -> tuple[SwitchedOff, ...]:
        return tuple(
            SwitchedOff(kind=WRAPPER.strip(), name=name.removeprefix(WRAPPER), how="raises an error where it is used")
            if name.startswith(WRAPPER)
            else SwitchedOff(kind="function", name=name, how="raises an error where it is called")
            for name in dict.fromkeys(each.name for each in self.functions)
        )

    def not_measured(self) -> tuple[str, ...]:
        extensions = sorted({each.of for each in self.left})
        return tuple(
            f"extension {name}: its functions reach outward when something calls them; they can be switched off only "
            "by a superuser"
            for name in extensions
        )


def switch_off_functions(session: Connection) -> MadeInert:
    """Replace every function of an outward extension, and every foreign-data wrapper's handler, that is not yet.

    Two small queries where there is none.

    Changes pg_proc in the session's database, within its transaction if it is in one.
    """
    found = read_outward_functions(session)
    if not found:
        return MadeInert()
    if not _may_replace(session):
        return MadeInert(left=found)
    with session.transaction():
        for each in found:
            _replace(session, each.oid, each.name, each.does)
            if each.is_handler:
                session.execute(QUERIES["return_void"], (each.oid,))
    return MadeInert(functions=found)


def read_outward_functions(session: Connection) -> tuple[OutwardFunction, ...]:
    """Functions of outward extensions and foreign-data wrappers' handlers that are not replaced.  Two small queries."""
    rows = session.execute(QUERIES["outward"], (list(OUTWARD_FUNCTIONS), list(OUTWARD_FUNCTIONS.values()))).fetchall()
    handlers = session.execute(QUERIES["handlers"]).fetchall()
    return (
        *(OutwardFunction(oid=oid, name=name, of=of) for oid, name, of in rows),
        *(OutwardFunction(oid=oid, name=f"{WRAPPER}{name}", of=of, does=BEYOND_DATABASE) for oid, name, of in handlers),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A function's row as it was before `replace_bodies`, to be put back."""

    oid: int
    language: int
    source: str
    library: str | None
    support: int
    parallel: str


def replace_bodies(session: Connection, functions: Mapping[int, tuple[str, str]]) -> tuple[Replaced, ...]:
    """Let these functions (oid: name, and what it does) raise and be counted, too; returns what `put_back` needs.

    () where the session is no superuser's.
    """
    if not functions or not _may_replace(session):
        return ()
    kept = []
    with session.transaction():
        for oid, (name, does) in functions.items():
            row = session.execute(QUERIES["row"], (oid,)).fetchone()
            if row is None:
                continue
            language, source, library, support, parallel = row
            kept.append(
                Replaced(
                    oid=oid, language=language, source=source, library=library, support=support, parallel=parallel
                )
            )  # fmt: skip
            _replace(session, oid, name, does)
    return tuple(kept)


def put_back(session: Connection, replaced: Sequence[Replaced]) -> None:
    """Give them their bodies again, unless somebody else did meanwhile.  In the clone, as administrator."""
    with session.transaction():
        for each in replaced:
            session.execute(
                QUERIES["put_back"],
                {
                    "oid": each.oid, "language": each.language, "source": each.source, "library": each.library,
                    "support": each.support, "parallel": each.parallel, "ours": _counter(each.oid).as_string(None),
                },
            )  # fmt: skip


def is_switched_off(body: str, oid: int) -> bool:
    """Whether this is the body that we gave it."""
    return _counter(oid).as_string(None) in body


def read_calls(session: Connection) -> dict[str, int]:
    """How often each switched-off function was called so far, by its name; those that were."""
    found: dict[str, int] = {}
    for counter, name in session.execute(QUERIES["counters"], (COUNTER_PREFIX,)).fetchall():
        query = sql.SQL("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {}")
        row = session.execute(query.format(sql.Identifier(NAMESPACE, counter))).fetchone()
        if row is not None and row[0]:
            found[name] = found.get(name, 0) + row[0]
    return found


def refresh_matviews(
    session: Connection, matviews: Collection[tuple[str, str]], functions: MadeInert
) -> tuple[dict[tuple[str, str], str], tuple[SwitchedOff, ...]]:
    """Fill materialized views, those first that others read; why which ones stay empty, and the same to be told.

    Empty stays what calls a switched-off function, though it caught the error, and what reads such a one; and where
    functions could not be switched off, what calls any function of a user's.  Raises what the server says of any other.
    """
    session.execute("SET search_path TO ''")  # as pg_restore
    empty: dict[tuple[str, str], str] = {}
    if functions.left:
        why = f"it calls functions, and those of {functions.left[0].of} could not be switched off"
        callers = {(row[0], row[1]) for row in session.execute(QUERIES["callers"])}
        empty = {name: why for name in matviews if name in callers}
    waiting = {name: None for name in matviews if name not in empty}
    while waiting:
        before, failure = len(waiting), None
        for name in tuple(waiting):
            called = read_calls(session)
            refresh = sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(*name))
            try:
                session.execute(refresh)
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                failure = error  # it reads one that is not filled yet
                continue
            except psycopg.Error:
                if read_calls(session) == called:
                    raise
            now = read_calls(session)
            if reached := sorted(each for each, calls in now.items() if calls != called.get(each, 0)):
                session.execute(refresh + sql.SQL(" WITH NO DATA"))
                does = BEYOND_DATABASE if any(each.startswith(WRAPPER) for each in reached) else TO_ANOTHER_SERVER
                empty[name] = f"filling it calls {', '.join(reached)}, which {does}"
            del waiting[name]
        if len(waiting) == before:
            if not empty:
                assert failure is not None
                raise failure
            empty |= dict.fromkeys(waiting, "it reads one that is not populated")
            break
    told = [SwitchedOff(kind="materialized view", name=".".join(name), how="not populated") for name in empty]
    return empty, tuple(told)


def _may_replace(session: Connection) -> bool:
    row = session.execute(IS_SUPERUSER).fetchone()
    return row is not None and bool(row[0])


def _counter(oid: int) -> sql.Literal:
    return sql.Literal(f"{NAMESPACE}.{COUNTER_PREFIX}{oid}")


def _replace(session: Connection, oid: int, name: str, does: str) -> None:
    counter = sql.Identifier(NAMESPACE, f"{COUNTER_PREFIX}{oid}")
    session.execute(sql.SQL(CREATE_COUNTER).format(counter=counter))
    session.execute(sql.SQL(GRANT_COUNTER).format(counter=counter))
    session.execute(sql.SQL(COMMENT_COUNTER).format(counter=counter, name=sql.Literal(name)))
    message = f"pgrehearse: {name} {does}, and is switched off on a clone"
    body = sql.SQL(BODY).format(
        counter=_counter(oid), code=sql.Literal(SWITCHED_OFF), message=sql.Literal(message)
    ).as_string(session)  # fmt: skip
    session.execute(QUERIES["replace"], {"oid": oid, "body": body})
