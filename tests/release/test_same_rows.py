"""As many rows, but other ones, are not what was rehearsed."""

from pathlib import Path

import pytest
from tests.support.applying import rows
from tests.support.dumps import dump_text
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.release.recoverability import DUMP, Proof

ALL = pytest.mark.pg(">= 15")
NEWEST = pytest.mark.pg("== 18")  # what does not hang on the server's version

BEFORE = """
CREATE TABLE keep (id int PRIMARY KEY);
INSERT INTO keep SELECT generate_series(3, 10);
CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'v');
INSERT INTO t SELECT generate_series(1, 10);
"""
PRUNE = "DELETE FROM t WHERE id NOT IN (SELECT id FROM keep);"
DRIFT = "INSERT INTO keep VALUES (1), (2); DELETE FROM keep WHERE id IN (9, 10)"


def refuse_then_let_pass(
    tmp_path: Path, database: Conninfo, uat: LocalServer, plan: tuple[str, ...], *, drift: str, back: str, says: str
) -> list[str]:
    """Rehearsed, then refused of the drifted rows; promoted when they are those of the rehearsal again."""
    receipt, source = rehearse_folder(tmp_path, database, uat, *plan)

    def state() -> object:
        if len(plan) == 1:
            return dump_text(database, "--schema=public")
        return rows(application, "SELECT id FROM t ORDER BY 1")  # whole files before it are kept

    with (
        ReleaseLedger.open(tmp_path / "ledger.db") as releases,
        connect(database, verb="test") as application,
    ):
        application.execute(drift.encode())
        before = state()
        with pytest.raises(NotAsRehearsed, match=says):
            run_promotion(request_for(database, receipt, source), releases)
        assert state() == before
        application.execute(back.encode())
        told: list[str] = []
        assert run_promotion(request_for(database, receipt, source), releases, told=told).applied
    return [line for line in told if "rehearsal" in line]


@ALL
def test_as_many_other_rows_are_stopped_before_the_commit(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(tmp_path, database, uat, PRUNE)
    connection.execute(DRIFT)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        says = r"public\.t: 2 rows gone in the rehearsal and here, but not the same ones \(here id=9; id=10\)$"
        with pytest.raises(NotAsRehearsed, match=says) as refused:
            run_promotion(request_for(database, receipt, source), releases)
        assert "-- pgrehearse: expect deletes public.t within 1%" in (refused.value.remedy or "")
        assert fetch_value(connection, "SELECT count(*) FROM t") == 10
        connection.execute("INSERT INTO keep VALUES (9), (10); DELETE FROM keep WHERE id IN (1, 2)")
        told: list[str] = []
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert not [line for line in told if "not measured" in line or "same ones" in line]
    assert fetch_value(connection, "SELECT min(id) FROM t") == 3


BACK = "INSERT INTO keep VALUES (9), (10); DELETE FROM keep WHERE id IN (1, 2)"
# plan, more that stands in production before it, the drift and its end, what the refusal says
OTHER_ROWS = {
    "without a key": (
        ("DELETE FROM bare WHERE id NOT IN (SELECT id FROM keep);",),
        "CREATE TABLE bare (id int, v text DEFAULT 'same'); INSERT INTO bare SELECT generate_series(1, 10)",
        r"public\.bare: 2 rows .* not the same ones; it has no key, so a row is all that it holds$",
    ),
    "by a cascade": (
        (PRUNE,),
        "CREATE TABLE child (a int, t int REFERENCES t ON DELETE CASCADE, PRIMARY KEY (a, t));"
        "INSERT INTO child SELECT 7, id FROM t",
        r"public\.child: 2 rows .* not the same ones \(here a=7, t=9; a=7, t=10\)",
    ),
    "in a second transaction": (
        ("CREATE TABLE other (id int);", "ALTER TABLE t ADD n int;", PRUNE),
        "",
        r"public\.t: 2 rows .* not the same ones",
    ),
    "beside as many that have a key of theirs": (
        (
            "ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t SELECT id, 'more' FROM t WHERE id IN (3, 4); " + PRUNE,
        ),
        "",
        r"public\.t: 2 rows .* not the same ones",
    ),
    "into an archive": (
        (
            "CREATE TABLE archive AS SELECT * FROM t WHERE id NOT IN (SELECT id FROM keep); " + PRUNE,
        ),
        "",
        r"public\.t: 2 rows .* not the same ones",
    ),
    "beside what has no inverse": (
        ("ALTER TYPE mood ADD VALUE 'calm'; " + PRUNE,),
        "CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE m (mood mood)",
        r"public\.t: 2 rows .* not the same ones",
    ),
    "of a partition": (
        ("DELETE FROM part WHERE id NOT IN (SELECT id FROM keep);",),
        """CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100); INSERT INTO part SELECT id FROM t""",
        r"public\.part_1: 2 rows .* not the same ones",
    ),
    "and put in again": (
        (
            "CREATE TABLE t_new (LIKE t INCLUDING ALL); INSERT INTO t_new SELECT t.* FROM t JOIN keep USING (id);"
            "DROP TABLE t; ALTER TABLE t_new RENAME TO t;",
        ),
        "",
        r"public\.t: 2 rows .* not the same ones",
    ),
}  # fmt: skip


@NEWEST
@pytest.mark.parametrize("how", OTHER_ROWS)
def test_other_rows_are_stopped_however_they_go(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer, how: str
) -> None:
    plan, beside, says = OTHER_ROWS[how]
    connection.execute(f"{BEFORE}; {beside}".encode())
    told = refuse_then_let_pass(tmp_path, database, uat, plan, drift=DRIFT, back=BACK, says=says)
    assert told == []


@NEWEST
def test_a_row_that_came_for_one_that_went_is_not_taken_unseen(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    refuse_then_let_pass(
        tmp_path, database, uat, ("DELETE FROM t;",),
        drift="DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (77)",
        back="DELETE FROM t WHERE id = 77; INSERT INTO t VALUES (3)",
        says=r"public\.t: 10 rows .* not the same ones \(here id=1; id=2; id=4; id=5; id=6 …\)",
    )  # fmt: skip


@NEWEST
def test_other_rows_may_go_where_the_file_declares_a_bound(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(
        tmp_path, database, uat, f"-- pgrehearse: expect deletes public.t within 1%\n{PRUNE}"
    )
    connection.execute(DRIFT)
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert "public.t: 2 rows gone in the rehearsal and here, but not the same ones, as its file lets be" in told, told


@NEWEST
def test_values_written_over_in_other_rows_are_told(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(
        tmp_path, database, uat, "UPDATE t SET v = 'x' WHERE id NOT IN (SELECT id FROM keep);"
    )
    connection.execute(DRIFT)
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert "public.t: 2 rows written over in the rehearsal and here, but not the same ones" in told, told


ONLY_COUNTED = "; whether the same ones as in the rehearsal was not measured, only how many"
# plan, more that stands in production before it, what is told: of these nothing says which rows went
NOT_MEASURED = {
    "a table without a key loses rows and values": (
        "DELETE FROM bare WHERE id NOT IN (SELECT id FROM keep); UPDATE bare SET v = 'x' WHERE id = 5;",
        "CREATE TABLE bare (id int, v text DEFAULT 'same'); INSERT INTO bare SELECT generate_series(1, 10)",
        [f"public.bare: 2 rows are gone{ONLY_COUNTED}", f"public.bare: 1 row is written over{ONLY_COUNTED}"],
    ),
    "the key is an enum whose label is renamed": (
        "DELETE FROM o WHERE id NOT IN (SELECT id FROM keep); ALTER TYPE en RENAME VALUE 'a' TO 'z';",
        """CREATE TYPE en AS ENUM ('a', 'b'); CREATE TABLE o (id int, e en, PRIMARY KEY (id, e));
        INSERT INTO o SELECT id, 'a' FROM t""",
        [f"public.o: 2 rows are gone{ONLY_COUNTED}"],
    ),
    "a table becomes a partitioned one": (
        """ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
        CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1000);
        INSERT INTO t SELECT o.* FROM t_old o JOIN keep USING (id); DROP TABLE t_old;""",
        "",
        [f"public.t: 2 rows are gone{ONLY_COUNTED}"],
    ),
    "a block commits by itself": (
        "DO $$ BEGIN DELETE FROM t WHERE id NOT IN (SELECT id FROM keep); COMMIT; END $$;",
        "",
        [f"public.t: 2 rows are gone{ONLY_COUNTED}"],
    ),
    "keys are written over": (
        "UPDATE t SET id = id + 100 WHERE id NOT IN (SELECT id FROM keep);",
        "",
        [f"public.t: 2 rows are written over{ONLY_COUNTED}"],
    ),
    "every row gets a new number": (
        """CREATE TEMP TABLE s AS SELECT row_number() OVER (ORDER BY id) + 100 AS id, v FROM t JOIN keep USING (id);
        TRUNCATE t; INSERT INTO t SELECT id, v FROM s; DROP TABLE s;""",
        "UPDATE t SET v = 'v' || id",
        [f"public.t: 2 rows are gone{ONLY_COUNTED}", f"public.t: 8 rows are written over{ONLY_COUNTED}"],
    ),
}  # fmt: skip


@NEWEST
@pytest.mark.parametrize("how", NOT_MEASURED)
def test_where_nothing_tells_which_rows_went_that_is_told(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer, how: str
) -> None:
    plan, beside, says = NOT_MEASURED[how]
    connection.execute(f"{BEFORE}; {beside}".encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    connection.execute(DRIFT)
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert [line for line in told if "rehearsal" in line] == says


@NEWEST
def test_without_the_way_back_or_an_image_only_counts_are_compared_which_is_told(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(tmp_path, database, uat, PRUNE)
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source, take_images=False), releases, told=told)
    assert f"public.t: 2 rows are gone{ONLY_COUNTED}" in told, told
    connection.execute("INSERT INTO t VALUES (1), (2); DELETE FROM pgrehearse.migrations")
    options = RehearsalOptions(source=database.text, target=uat.conninfo().text, folder=tmp_path / "db", way_back=False)
    receipt = Project.open(None, start=tmp_path).rehearse(options)
    told = []
    with ReleaseLedger.open(tmp_path / "other.db") as releases:
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert f"public.t: 2 rows are gone{ONLY_COUNTED}" in told, told


@NEWEST
def test_of_a_table_that_two_transactions_take_rows_from_only_counts_are_compared_which_is_told(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(tmp_path, database, uat, "DELETE FROM t WHERE id = 5;", PRUNE)
    connection.execute(DRIFT)
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(
            request_for(database, receipt, source), releases, told=told,
            secure=lambda: (Proof(way=DUMP, summary="a backup", facts={"backup": "b", "directory": str(tmp_path)}),),
        )  # fmt: skip
    assert f"public.t: 3 rows are gone{ONLY_COUNTED}" in told, told


@NEWEST
def test_a_table_that_is_made_anew_goes_with_whatever_it_holds(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(tmp_path, database, uat, "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY);")
    connection.execute("INSERT INTO t VALUES (77)")
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert "public.t: 10 rows gone in the rehearsal, 11 here, whatever the table held" in told, told


# plan, and what stands in production before it: the same rows go, however the plan does it
SAME_ROWS = {
    "by a deferred trigger": (
        "INSERT INTO go VALUES (1);",
        """CREATE TABLE go (i int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM t WHERE id NOT IN (SELECT id FROM keep); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER c AFTER INSERT ON go DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION f()""",
    ),
    "whose key is the name of a table that goes": (
        "DELETE FROM r WHERE rel = 'old1'::regclass; DROP TABLE old1;",
        "CREATE TABLE old1 (i int); CREATE TABLE r (rel regclass PRIMARY KEY); INSERT INTO r VALUES ('old1'), ('t')",
    ),
    "into a new partition": (
        """CREATE TABLE m AS SELECT * FROM p_d WHERE id >= 5; DELETE FROM p_d WHERE id >= 5;
        CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (5) TO (100); INSERT INTO p SELECT * FROM m; DROP TABLE m;""",
        """CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p_d PARTITION OF p DEFAULT;
        INSERT INTO p SELECT id FROM t""",
    ),
    "from partition to partition": (
        "UPDATE l SET k = 'b' WHERE id NOT IN (SELECT id FROM keep);",
        """CREATE TABLE l (id int, k text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
        CREATE TABLE l_a PARTITION OF l FOR VALUES IN ('a'); CREATE TABLE l_b PARTITION OF l FOR VALUES IN ('b');
        INSERT INTO l SELECT id, CASE WHEN id < 6 THEN 'a' ELSE 'b' END FROM t""",
    ),
    "and come back": ("CREATE TEMP TABLE s AS TABLE t; DELETE FROM t; INSERT INTO t TABLE s;", ""),
}


@NEWEST
@pytest.mark.parametrize("how", SAME_ROWS)
def test_the_same_rows_are_promoted_however_they_go(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer, how: str
) -> None:
    plan, beside = SAME_ROWS[how]
    connection.execute(f"{BEFORE}; {beside}".encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        assert run_promotion(request_for(database, receipt, source), releases).applied


@NEWEST
def test_no_key_is_shown_that_may_be_a_name_or_an_address(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    connection.execute("CREATE TABLE em (email text PRIMARY KEY, id int); INSERT INTO em SELECT 'u' || id, id FROM t")
    receipt, source = rehearse_folder(tmp_path, database, uat, "DELETE FROM em WHERE id NOT IN (SELECT id FROM keep);")
    connection.execute(DRIFT)
    says = r"public\.em: 2 rows .* not the same ones$"
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases, pytest.raises(NotAsRehearsed, match=says):
        run_promotion(request_for(database, receipt, source), releases)


@NEWEST
def test_a_resumed_promotion_still_tells_what_it_could_not_compare(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    connection.execute("""
        CREATE TABLE bare (id int, v text DEFAULT 'same'); INSERT INTO bare SELECT generate_series(1, 10);
        CREATE TABLE q (i int PRIMARY KEY); INSERT INTO q VALUES (1)
    """)
    receipt, source = rehearse_folder(
        tmp_path, database, uat,
        "DELETE FROM bare WHERE id NOT IN (SELECT id FROM keep); UPDATE bare SET v = 'x' WHERE id = 5;",
        "DELETE FROM q;",
    )  # fmt: skip
    connection.execute(DRIFT)
    connection.execute("INSERT INTO q VALUES (2)")
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with pytest.raises(NotAsRehearsed, match=r"public\.q: 1 row deleted in the rehearsal, 2 here"):
            run_promotion(request_for(database, receipt, source), releases)
        connection.execute("DELETE FROM q WHERE i = 2")
        assert run_promotion(request_for(database, receipt, source), releases, told=told).applied == ("0002_step",)
    assert f"public.bare: 2 rows are gone{ONLY_COUNTED}" in told, told


@NEWEST
def test_rows_that_would_move_to_another_partition_are_let_by_a_bound_on_updates(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(
        f"""{BEFORE}
        CREATE TABLE l (id int, k text, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
        CREATE TABLE l_a PARTITION OF l FOR VALUES IN ('a'); CREATE TABLE l_b PARTITION OF l FOR VALUES IN ('b');
        INSERT INTO l SELECT id, 'a', 'v' || id FROM t
    """.encode()
    )
    plan = "UPDATE l SET k = 'b' WHERE id NOT IN (SELECT id FROM keep);"
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    connection.execute(DRIFT)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with pytest.raises(NotAsRehearsed) as refused:
            run_promotion(request_for(database, receipt, source), releases)
        line = "-- pgrehearse: expect updates public.l within 1%"
        assert (refused.value.remedy or "").endswith(f":\n{line}")
        connection.execute(BACK)
        receipt, source = rehearse_folder(tmp_path, database, uat, f"{line}\n{plan}")
        connection.execute(DRIFT)
        assert run_promotion(request_for(database, receipt, source), releases).applied


@ALL
def test_another_column_written_over_is_told_and_held_by_the_image(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute("""
        CREATE TABLE conf (col text); INSERT INTO conf VALUES ('v');
        CREATE TABLE t (id int PRIMARY KEY, v text, z int, "Not""e" text);
        INSERT INTO t SELECT n, 'v' || n, n, 'n' FROM generate_series(1, 10) n;
    """)
    plan = """UPDATE t SET v = CASE WHEN (SELECT col FROM conf) = 'v' THEN NULL ELSE v END,
        z = CASE WHEN (SELECT col FROM conf) = 'z' THEN NULL ELSE z END,
        "Not""e" = CASE WHEN (SELECT col FROM conf) = 'z' THEN 'x' ELSE "Not""e" END WHERE id <= 3;"""
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    connection.execute("UPDATE conf SET col = 'z'")
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases, told=told)
    assert rows(connection, "SELECT count(v), count(z) FROM t") == [(10, 7)]
    assert sorted(line for line in told if "wrote over none" in line) == [
        f"public.t.{column}: the rehearsal wrote over none of its values, here 3 rows have another one; the image "
        "holds those before"
        for column in ('"Not""e"', "z")
    ]
    (image,) = promotion.images
    assert image["relation"] == "public.t"


@NEWEST
def test_columns_that_the_rehearsal_wrote_over_are_not_told(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(BEFORE)
    receipt, source = rehearse_folder(tmp_path, database, uat, "UPDATE t SET v = 'w' WHERE id <= 3;")
    told: list[str] = []
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source), releases, told=told)
    assert [line for line in told if "rehearsal" in line] == []
