"""Tables are left out of the comparison only where nothing was written to them, whatever was done to them.

Each case is a table of its own and what a plan does to it; all plans run once as an ordinary role and once as a
superuser.  The witness is the text that COPY gives of both tables.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from pgrehearse.data.loss import compare_data
from pgrehearse.data.proof import Proof
from pgrehearse.data.untouched import read_baseline
from pgrehearse.data.verdicts import DataComparison, TableLoss
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")

FILLED = "CREATE TABLE {t} (id int PRIMARY KEY, v text, w varchar(20)); " + (
    "INSERT INTO {t} SELECT i, '{t} ' || i, 'w' FROM generate_series(1, 100) i"
)
COUNTERS, XMIN, MOVED = "catalog relfilenode counters", "catalog relfilenode xmin count", "catalog xmin count"
READ = "fingerprint"


@dataclass(frozen=True)
class Case:
    """``{t}`` stands for the case's table.  What an ordinary role's proof must be, and a superuser's."""

    name: str
    plan: tuple[str, ...]  # each a statement, or several in one transaction
    ordinary: str  # the evidence, or how else
    superuser: str = ""  # "": as the ordinary role's, but for the counters
    given: str = FILLED
    since: int = 15  # or 18
    same: bool = True  # whether COPY gives the same text of the columns that were there before
    added: bool = False  # rows more, besides
    after: str = ""  # its name afterwards

    @property
    def table(self) -> str:
        return f"t_{self.name}"

    @property
    def by_superuser(self) -> str:
        return self.superuser or (XMIN if self.ordinary == COUNTERS else self.ordinary)


CASES = (
    # nothing that changes a row
    Case("nothing", (), COUNTERS),
    Case("no_row_matched", ("UPDATE {t} SET v = 'x' WHERE id > 1000", "DELETE FROM {t} WHERE id < 0"), COUNTERS),
    Case("rolled_back", ("BEGIN; UPDATE {t} SET v = 'x'; ROLLBACK",), XMIN),
    Case("rolled_back_to_a_savepoint", ("BEGIN; SAVEPOINT s; DELETE FROM {t}; ROLLBACK TO s; COMMIT",), XMIN),
    Case("truncate_rolled_back", ("BEGIN; TRUNCATE {t}; INSERT INTO {t} VALUES (1); ROLLBACK",), COUNTERS),
    Case("rows_locked", ("BEGIN; SELECT FROM {t} FOR UPDATE; COMMIT",), COUNTERS),
    Case("analyzed_and_frozen", ("VACUUM (FREEZE, ANALYZE) {t}",), COUNTERS),
    Case("vacuum_full", ("VACUUM FULL {t}",), MOVED, READ),
    Case("clustered", ("CLUSTER {t} USING {t}_pkey",), MOVED, READ),
    Case(
        "index_and_constraints",
        ("CREATE INDEX ON {t} (v)", "ALTER TABLE {t} ADD CHECK (id > 0), ALTER v SET NOT NULL"),
        COUNTERS,
    ),
    Case(
        "storage_and_statistics", ("ALTER TABLE {t} ALTER v SET STORAGE EXTERNAL, ALTER v SET STATISTICS 9",), COUNTERS
    ),
    Case("renamed", ("ALTER TABLE {t} RENAME TO {t}_2",), COUNTERS, after="t_renamed_2"),
    Case("column_renamed", ("ALTER TABLE {t} RENAME v TO value",), COUNTERS),
    Case(
        "columns_names_exchanged",
        ("ALTER TABLE {t} RENAME v TO x; ALTER TABLE {t} RENAME w TO v; ALTER TABLE {t} RENAME x TO w",),
        COUNTERS,
    ),
    Case("empty_stays_empty", ("DELETE FROM {t}",), COUNTERS, READ, given="CREATE TABLE {t} (id int)"),
    Case("empty_truncated", ("TRUNCATE {t}",), READ, given="CREATE TABLE {t} (id int)"),
    Case(
        "foreign_key_checked",
        ("CREATE TABLE {t}_child (id int REFERENCES {t}); INSERT INTO {t}_child VALUES (1)",),
        COUNTERS,
    ),
    # rows written
    Case("inserted", ("INSERT INTO {t} VALUES (0, 'new')",), XMIN, added=True),
    Case("copied_frozen", ("BEGIN; TRUNCATE {t}; COPY {t} FROM STDIN (FREEZE); COMMIT",), "compared", same=False),
    Case(
        "inserted_in_place_of_another",
        ("DELETE FROM {t} WHERE id = 5; INSERT INTO {t} VALUES (5, 'other')",),
        "compared",
        same=False,
    ),
    Case("updated", ("UPDATE {t} SET v = 'x' WHERE id = 7",), "compared", same=False),
    Case("updated_to_the_same", ("UPDATE {t} SET v = v",), READ),
    Case(
        "updated_and_back",
        ("UPDATE {t} SET v = v || '!' WHERE id = 3", "UPDATE {t} SET v = '{t} 3' WHERE id = 3"),
        READ,
    ),
    Case(
        "values_swapped",
        ("UPDATE {t} SET v = CASE id WHEN 1 THEN '{t} 2' ELSE '{t} 1' END WHERE id < 3",),
        "compared",
        same=False,
    ),
    Case("columns_swapped", ("UPDATE {t} SET v = w, w = v WHERE id = 9",), "compared", same=False),
    Case("updated_and_frozen", ("UPDATE {t} SET v = 'x' WHERE id = 7", "VACUUM (FREEZE) {t}"), "compared", same=False),
    Case(
        "updated_and_moved",
        ("UPDATE {t} SET v = 'x' WHERE id = 7", "VACUUM (FULL, FREEZE) {t}"),
        "compared",
        same=False,
    ),
    Case("deleted", ("DELETE FROM {t} WHERE id = 7",), "compared", same=False),
    Case(
        "deleted_and_another_inserted",
        ("DELETE FROM {t} WHERE id = 7; INSERT INTO {t} VALUES (107)",),
        "compared",
        same=False,
    ),
    Case("deleted_and_given_back", ("DELETE FROM {t} WHERE id = 7", "INSERT INTO {t} VALUES (7, '{t} 7', 'w')"), READ),
    Case("all_deleted", ("DELETE FROM {t}",), "compared", same=False),
    Case("truncated", ("TRUNCATE {t}",), "compared", same=False),
    Case(
        "truncated_and_filled_again",
        ("CREATE TEMP TABLE {t}_kept AS TABLE {t}; TRUNCATE {t}; INSERT INTO {t} TABLE {t}_kept",),
        READ,
    ),
    Case(
        "merged",
        ("MERGE INTO {t} USING (VALUES (3)) AS s(id) ON {t}.id = s.id WHEN MATCHED THEN UPDATE SET v = NULL",),
        "compared",
        same=False,
    ),
    Case(
        "in_a_function", ("DO $$ BEGIN EXECUTE 'UPDATE {t} SET v = NULL WHERE id = 4'; END $$",), "compared", same=False
    ),
    Case(
        "by_cascade",
        (
            "CREATE TABLE {t}_p (id int PRIMARY KEY); INSERT INTO {t}_p SELECT id FROM {t};"
            " ALTER TABLE {t} ADD FOREIGN KEY (id) REFERENCES {t}_p ON DELETE CASCADE; DELETE FROM {t}_p WHERE id = 1",
        ),
        "compared",
        same=False,
    ),
    Case(
        "toasted",
        ("UPDATE {t} SET v = 'y' || v WHERE id = 2",),
        "compared",
        same=False,
        given="CREATE TABLE {t} (id int PRIMARY KEY, v text); ALTER TABLE {t} ALTER v SET STORAGE EXTERNAL;"
        " INSERT INTO {t} SELECT i, repeat('x', 20000) FROM generate_series(1, 3) i",
    ),
    # what no evidence of the heap sees
    Case("fast_default", ("ALTER TABLE {t} ADD n int NOT NULL DEFAULT 5, ADD u text",), COUNTERS),
    Case("slow_default", ("ALTER TABLE {t} ADD n timestamptz DEFAULT clock_timestamp()",), READ),
    Case("column_dropped", ("ALTER TABLE {t} DROP w",), READ, same=False),
    Case("column_made_again", ("ALTER TABLE {t} DROP w; ALTER TABLE {t} ADD w varchar(20) DEFAULT 'w'",), READ),
    Case(
        "column_made_again_otherwise",
        ("ALTER TABLE {t} DROP w; ALTER TABLE {t} ADD w varchar(20) DEFAULT 'x'",),
        "compared",
        same=False,
    ),
    Case(
        "label_renamed",
        ("ALTER TYPE {t}_e RENAME VALUE 'a' TO 'c'",),
        READ,
        same=False,
        given="CREATE TYPE {t}_e AS ENUM ('a', 'b'); CREATE TABLE {t} (id int PRIMARY KEY, e {t}_e);"
        " INSERT INTO {t} VALUES (1, 'a')",
    ),
    Case(
        "label_added",
        ("ALTER TYPE {t}_e ADD VALUE 'c'",),
        READ,
        given="CREATE TYPE {t}_e AS ENUM ('a', 'b'); CREATE TABLE {t} (id int PRIMARY KEY, e {t}_e[]);"
        " INSERT INTO {t} VALUES (1, '{{a}}')",
    ),
    Case("retyped_in_place", ("ALTER TABLE {t} ALTER w TYPE text",), READ),
    Case("longer_in_place", ("ALTER TABLE {t} ALTER w TYPE varchar(40)",), READ),
    Case("retyped", ("ALTER TABLE {t} ALTER id TYPE bigint",), READ),
    Case("collation", ('ALTER TABLE {t} ALTER v TYPE text COLLATE "C"',), READ),
    Case("domain", ("CREATE DOMAIN {t}_d AS text CHECK (VALUE <> ''); ALTER TABLE {t} ALTER v TYPE {t}_d",), READ),
    Case(
        "attribute_renamed",
        ("ALTER TYPE {t}_c RENAME ATTRIBUTE a TO b",),
        READ,
        given="CREATE TYPE {t}_c AS (a int); CREATE TABLE {t} (id int PRIMARY KEY, c {t}_c);"
        " INSERT INTO {t} VALUES (1, ROW(1))",
    ),
    Case(
        "generated_otherwise",
        ("ALTER TABLE {t} ALTER g SET EXPRESSION AS (id * 3)",),
        "compared",
        same=False,
        since=18,
        given="CREATE TABLE {t} (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);"
        " INSERT INTO {t} VALUES (1), (2)",
    ),
    Case(
        "virtual_otherwise",
        ("ALTER TABLE {t} ALTER g SET EXPRESSION AS (id * 3)",),
        "compared",
        same=False,
        since=18,
        given="CREATE TABLE {t} (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) VIRTUAL);"
        " INSERT INTO {t} VALUES (1), (2)",
    ),
    Case(
        "made_again",
        (
            "CREATE TEMP TABLE {t}_kept AS TABLE {t}; DROP TABLE {t}; CREATE TABLE {t} (id int PRIMARY KEY, v text,"
            " w varchar(20)); INSERT INTO {t} TABLE {t}_kept",
        ),
        READ,
    ),
    Case("unlogged", ("ALTER TABLE {t} SET UNLOGGED",), READ),
    Case(
        "attached",
        (
            "CREATE TABLE {t}_p (id int NOT NULL, v text, w varchar(20)) PARTITION BY RANGE (id);"
            " ALTER TABLE {t}_p ATTACH PARTITION {t} FOR VALUES FROM (1) TO (1000)",
        ),
        READ,
    ),
    Case(
        "inherited",
        ("INSERT INTO {t}_child VALUES (500)",),
        COUNTERS,
        given=FILLED + "; CREATE TABLE {t}_child () INHERITS ({t})",
    ),
)


class Rehearsed:
    """All plans, run by one role on a clone, and what was found out."""

    def __init__(self, server: LocalServer, pristine: str, clone: str, role: str) -> None:
        self.server, self.pristine, self.clone, self.role = server, pristine, clone, role
        with connect(server.conninfo(), verb="test") as admin:
            owner = admin.execute(
                "SELECT datdba::regrole::text FROM pg_database WHERE datname = %s", (pristine,)
            ).fetchone()
            assert owner is not None
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine} OWNER {owner[0]}")
        with self.session(clone) as admin:
            baseline = read_baseline(admin, role=role, as_role=lambda: self.session(clone, role))
        with self.session(clone, role) as session:
            for case in cases_for(server):
                for statement in case.plan:
                    run(session, statement.format(t=case.table))
        self.compared: DataComparison = compare_data(
            lambda: self.session(pristine), lambda: self.session(clone), proof=Proof.TOUCHED, baseline=baseline
        )
        with self.session(pristine) as before, self.session(clone) as after:
            self.texts = {case.name: texts(before, after, case) for case in cases_for(server)}

    def session(self, database: str, role: str | None = None) -> Connection:
        session = connect(self.server.conninfo(database), verb="test")
        if role is not None:
            session.execute(f"SET SESSION AUTHORIZATION {role}")
        return session

    def table(self, case: Case) -> TableLoss:
        return next(table for table in self.compared.tables if table.name == f"public.{case.table}")


COLUMNS = "SELECT attnum, attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"


def texts(before: Connection, after: Connection, case: Case) -> tuple[list[bytes], list[bytes]]:
    """What COPY gives of the pristine columns, before and after, whatever they are called now."""
    name, name_after = f"public.{case.table}", f"public.{case.after or case.table}"
    columns: dict[int, str] = dict(before.execute(COLUMNS, (name,)).fetchall())
    now: dict[int, str] = dict(after.execute(COLUMNS, (name_after,)).fetchall())
    kept = [now.get(number, each if each in now.values() else None) for number, each in columns.items()]
    return copied(before, name, list(columns.values())), copied(after, name_after, [each for each in kept if each])


def run(session: Connection, statement: str) -> None:
    if "FROM STDIN" not in statement:
        session.execute(statement)
        return
    before, copy, after = statement.split("; ", 1)[0], *statement.split("; ", 1)[1].rsplit("; ", 1)
    session.execute(before)
    for part in copy.split("; "):
        if "FROM STDIN" in part:
            with session.cursor() as cursor, cursor.copy(part) as rows:
                rows.write_row((1, "v1", "other"))
        else:
            session.execute(part)
    session.execute(after)


def copied(session: Connection, table: str, columns: list[str]) -> list[bytes]:
    names = ", ".join(f'"{name}"' for name in columns)
    with session.cursor() as cursor, cursor.copy(f"COPY (SELECT {names} FROM ONLY {table}) TO STDOUT") as copy:
        return sorted(bytes(line) for line in copy)


def cases_for(server: LocalServer) -> list[Case]:
    return [case for case in CASES if server.major >= case.since]


@pytest.fixture(scope="module")
def pristine(server: LocalServer) -> Iterator[tuple[str, str]]:
    """The database and its ordinary owner."""
    name, role = f"untouched_{os.getpid()}", f"untouched_owner_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE ROLE {role}")
        admin.execute(f"CREATE DATABASE {name} OWNER {role}")
        with connect(server.conninfo(name), verb="test") as session:
            session.execute(f"SET SESSION AUTHORIZATION {role}")
            for case in cases_for(server):
                session.execute(case.given.format(t=case.table))
        yield name, role
        for database in (f"{name}_o", f"{name}_s", f"{name}_t", name):
            admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        with suppress(Exception):
            admin.execute(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def ordinary(server: LocalServer, pristine: tuple[str, str]) -> Rehearsed:
    return Rehearsed(server, pristine[0], f"{pristine[0]}_o", pristine[1])


@pytest.fixture(scope="module")
def superuser(server: LocalServer, pristine: tuple[str, str]) -> Rehearsed:
    return Rehearsed(server, pristine[0], f"{pristine[0]}_s", "postgres")


def told(table: TableLoss) -> str:
    assert table.proof is not None
    return " ".join(each.value for each in table.proof.evidence) or table.proof.how.value


@pytest.mark.parametrize("who", ["ordinary", "superuser"])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if case.since == 15])
def test_what_a_verdict_stands_on(case: Case, who: str, request: pytest.FixtureRequest, server: LocalServer) -> None:
    hold(case, request.getfixturevalue(who), who)


@pytest.mark.pg(">= 18")
@pytest.mark.parametrize("who", ["ordinary", "superuser"])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if case.since > 15])
def test_what_a_generated_columns_verdict_stands_on(
    case: Case, who: str, request: pytest.FixtureRequest, server: LocalServer
) -> None:
    hold(case, request.getfixturevalue(who), who)


def hold(case: Case, rehearsed: Rehearsed, who: str) -> None:
    table = rehearsed.table(case)
    before, after = rehearsed.texts[case.name]
    if case.added:
        assert set(before) < set(after)
        assert table.rows_after == len(after)
    else:
        assert (before == after) is case.same  # the case itself
    if told(table) not in ("compared", "counted", READ):
        assert case.same, f"{case.name} was taken for untouched"
        assert (table.rows_before, table.rows_lost) == (len(before), 0)
    assert told(table) == (case.ordinary if who == "ordinary" else case.by_superuser)
    # A renamed label is another text of the same value, which the catalog's comparison tells.
    assert table.lost is (not case.same and case.name != "label_renamed")


def test_counters_of_an_ordinary_role_are_believed(ordinary: Rehearsed) -> None:
    assert ordinary.compared.proof is Proof.TOUCHED
    assert ordinary.compared.counters_not_believed is None


def test_counters_of_a_superuser_are_not(superuser: Rehearsed) -> None:
    assert superuser.compared.counters_not_believed == "role postgres is a superuser"


# --- what hides rows from the counters

TRICKS = {
    "counting_turned_off": "SET track_counts = off; UPDATE t_nothing SET v = 'x' WHERE id = 1; RESET track_counts",
    "counters_reset": "UPDATE t_nothing SET v = 'x' WHERE id = 1; SELECT pg_stat_force_next_flush();"
    " SELECT pg_stat_reset()",
    "one_tables_counters_reset": "UPDATE t_nothing SET v = 'x' WHERE id = 1; SELECT pg_stat_force_next_flush();"
    " SELECT pg_stat_reset_single_table_counters('t_nothing'::regclass)",
    "files_exchanged": "UPDATE pg_class c SET relfilenode = o.relfilenode FROM pg_class o"
    " WHERE c.oid = 't_nothing'::regclass AND o.oid = 't_updated_and_back'::regclass",
}


def in_a_clone(
    server: LocalServer, pristine: tuple[str, str], role: str, *statements: str, before: str = "", between: str = ""
) -> DataComparison:
    """Compare after these; ``before`` and ``between`` are an administrator's, before and after the baseline."""
    source, clone = pristine[0], f"{pristine[0]}_t"

    def session(database: str, role: str | None = None) -> Connection:
        opened = connect(server.conninfo(database), verb="test")
        if role is not None:
            opened.execute(f"SET SESSION AUTHORIZATION {role}")
        return opened

    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {clone} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {clone} TEMPLATE {source} OWNER {pristine[1]}")
    with session(clone) as admin:
        if before:
            admin.execute(before)
        baseline = read_baseline(admin, role=role, as_role=lambda: session(clone, role))
        if between:
            admin.execute(between)
    with session(clone, role) as plan:
        for statement in statements:
            plan.execute(statement)
    return compare_data(lambda: session(source), lambda: session(clone), proof=Proof.TOUCHED, baseline=baseline)


def nothings(compared: DataComparison) -> TableLoss:
    return next(table for table in compared.tables if table.name == "public.t_nothing")


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("trick", TRICKS)
def test_a_superusers_tricks_are_seen_through(server: LocalServer, pristine: tuple[str, str], trick: str) -> None:
    compared = in_a_clone(server, pristine, "postgres", *TRICKS[trick].split("; "))
    table = nothings(compared)
    assert table.lost
    assert told(table) == "compared"


RUNS_AS_SUPERUSER = (
    "CREATE FUNCTION hide() RETURNS void LANGUAGE sql SECURITY DEFINER SET track_counts = off"
    " AS $$ UPDATE public.t_nothing SET v = 'x' WHERE id = 1 $$"
)


@pytest.mark.pg("== 18")
def test_a_function_that_runs_as_a_superuser_hides_nothing(server: LocalServer, pristine: tuple[str, str]) -> None:
    compared = in_a_clone(server, pristine, pristine[1], "SELECT hide()", before=RUNS_AS_SUPERUSER)
    assert compared.counters_not_believed == "function hide runs as postgres, who is a superuser"
    assert nothings(compared).lost


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("given", "taken", "doubt"),
    [
        (
            "GRANT SET ON PARAMETER track_counts TO {r}",
            "REVOKE SET ON PARAMETER track_counts FROM {r}",
            "may turn track_counts off",
        ),
        (
            "GRANT pg_execute_server_program TO {r}",
            "REVOKE pg_execute_server_program FROM {r}",
            "reaches the server's machine",
        ),
        ("ALTER ROLE {r} SET track_counts = off", "ALTER ROLE {r} RESET track_counts", "sets track_counts"),
        ("GRANT EXECUTE ON FUNCTION pg_stat_reset() TO {r}", "SELECT", "may reset the counters"),
    ],
)
def test_a_role_that_could_hide_rows_is_not_believed(
    server: LocalServer, pristine: tuple[str, str], given: str, taken: str, doubt: str
) -> None:
    role = pristine[1]
    try:
        compared = in_a_clone(
            server, pristine, role, "UPDATE t_nothing SET v = 'x' WHERE id = 1", before=given.format(r=role)
        )
    finally:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(taken.format(r=role))
    assert doubt in (compared.counters_not_believed or "")
    assert nothings(compared).lost


@pytest.mark.pg("== 18")
def test_counters_that_were_lost_are_not_believed(server: LocalServer, pristine: tuple[str, str]) -> None:
    """As after a crash, which throws them all away and leaves them where they began."""
    lost = "SELECT pg_stat_reset_shared('archiver'), pg_sleep(0.01)"
    compared = in_a_clone(server, pristine, pristine[1], between=lost)
    assert compared.counters_not_believed == "the counters were reset or lost while the plan ran"
    assert told(nothings(compared)) == XMIN


@pytest.mark.pg("== 18")
def test_who_was_there_before_the_plan_may_have_written(server: LocalServer, pristine: tuple[str, str]) -> None:
    """Not alone at the baseline: neither counters nor transaction ids tell, so everything is read."""
    clone = f"{pristine[0]}_t"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {clone} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine[0]}")
    from pgrehearse.data import untouched

    patience, untouched.ENDING_S = untouched.ENDING_S, 0.1
    try:
        with (
            connect(server.conninfo(clone), verb="other") as other,
            connect(server.conninfo(clone), verb="test") as admin,
        ):
            other.execute("BEGIN; UPDATE t_nothing SET v = 'x' WHERE id = 1")
            baseline = read_baseline(admin, role=pristine[1])
            other.execute("COMMIT")
    finally:
        untouched.ENDING_S = patience
    compared = compare_data(
        lambda: connect(server.conninfo(pristine[0]), verb="test"),
        lambda: connect(server.conninfo(clone), verb="test"),
        proof=Proof.TOUCHED,
        baseline=baseline,
    )
    assert compared.counters_not_believed == untouched.NOT_ALONE
    assert nothings(compared).lost
    assert told(next(t for t in compared.tables if t.name == "public.t_rows_locked")) == READ


# --- the other two ways


@pytest.mark.pg("== 18")
def test_a_full_proof_reads_every_table(server: LocalServer, pristine: tuple[str, str]) -> None:
    compared = compare_data(
        lambda: connect(server.conninfo(pristine[0]), verb="test"),
        lambda: connect(server.conninfo(pristine[0]), verb="test"),
        proof=Proof.FULL,
    )
    assert {told(table) for table in compared.tables} == {READ}
    assert not compared.lost
    assert compared.not_measured == ()


@pytest.mark.pg("== 18")
def test_counting_says_what_it_does_not_know(server: LocalServer, ordinary: Rehearsed) -> None:
    compared = compare_data(
        lambda: ordinary.session(ordinary.pristine), lambda: ordinary.session(ordinary.clone), proof=Proof.COUNTS
    )
    tables = {table.name: table for table in compared.tables}
    assert {told(table) for table in tables.values()} == {"counted"}
    assert [(fact.what, fact.blocking) for fact in compared.not_measured] == [("the values of all tables", True)]
    deleted, updated = tables["public.t_deleted"], tables["public.t_updated"]
    assert (deleted.verdict.value, deleted.rows_lost, deleted.lost) == ("rows-lost", 1, True)
    assert (updated.verdict.value, updated.rows_lost) == ("unmeasured", 0)
    assert {column.values_changed for column in updated.columns} == {None}
