"""What the rehearsal saw unchanged must stay unchanged, and what a plan writes over is copied first."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.dumps import dump_text
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

B = (
    "CREATE TABLE b (id int PRIMARY KEY, email text, y int); "
    "INSERT INTO b SELECT n, 'u' || n, n FROM generate_series(1, 50) n"
)
NORMALISE = "UPDATE b SET email = lower(trim(email));"


@pytest.mark.pg(">= 15")
def test_an_update_that_changed_nothing_in_rehearsal_may_change_nothing_in_production(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(B)
    receipt, source = rehearse_folder(tmp_path, database, uat, NORMALISE)
    assert receipt.verdict == "clean"
    connection.execute("UPDATE b SET email = '  ABC' WHERE id = 5")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with pytest.raises(NotAsRehearsed, match=r"public\.b: the rehearsal changed no value .* those of 1 row"):
            run_promotion(request_for(database, receipt, source), releases)
        assert fetch_value(connection, "SELECT email FROM b WHERE id = 5") == "  ABC"
        connection.execute("UPDATE b SET email = 'abc' WHERE id = 5")
        promotion = run_promotion(request_for(database, receipt, source), releases)
    assert promotion.applied == ("0001_step",)


@pytest.mark.pg(">= 15")
def test_an_update_beside_a_loss_that_was_accepted_is_imaged_too(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(B)
    receipt, source = rehearse_folder(tmp_path, database, uat, "ALTER TABLE b DROP COLUMN y;\n" + NORMALISE)
    connection.execute("UPDATE b SET email = '  ABC' WHERE id = 5")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    assert [image["relation"] for image in promotion.images] == ["public.b"]
    kept = f"""SELECT count(*) FROM pgrehearse_quarantine."{promotion.id}_1_b" k WHERE k::text LIKE '%  ABC%'"""
    assert fetch_value(connection, kept) == 1


@pytest.mark.pg(">= 15")
def test_a_type_change_that_lost_nothing_in_rehearsal_is_imaged(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE n (id int PRIMARY KEY, v numeric(10, 2)); INSERT INTO n VALUES (1, 2)")
    receipt, source = rehearse_folder(tmp_path, database, uat, "ALTER TABLE n ALTER v TYPE int;")
    connection.execute("INSERT INTO n VALUES (2, 17)")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    assert [image["relation"] for image in promotion.images] == ["public.n"]
    kept = f"""SELECT count(*) FROM pgrehearse_quarantine."{promotion.id}_1_n" k WHERE k::text LIKE '%17.00%'"""
    assert fetch_value(connection, kept) == 1


# column: type, values, what it becomes, a value that this would change
RETYPED = {
    "a": ("numeric(10, 2)", "n", "int", "1.55"),
    "b": ("numeric", "n", "numeric(10, 2)", "1.555"),
    "c": ("timestamptz", "date '2026-01-01' + n", "date", "'2026-01-01 12:00+00'"),
    "d": ("varchar(50)", "'v' || n", "varchar(5) USING d::varchar(5)", "'too long'"),
    "e": ("text", "n::text", "int USING e::int", "'007'"),
    "f": ("mood", "'sad'::mood", "feeling USING CASE WHEN f IS NOT NULL THEN 'sad'::feeling END", "'glad'"),
    "g": ("double precision", "n", "real", "0.1234567890123"),
}


@pytest.mark.pg("== 18")
def test_a_value_that_comes_after_the_gate_is_not_lost_in_a_type_change(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    columns = ", ".join(f"{name} {type_before}" for name, (type_before, *_) in RETYPED.items())
    values = ", ".join(value for _, value, _, _ in RETYPED.values())
    changes = ", ".join(f"ALTER {name} TYPE {change}" for name, (_, _, change, _) in RETYPED.items())
    connection.execute(
        f"""
        CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE feeling AS ENUM ('sad', 'glad');
        CREATE TABLE keyed (id int PRIMARY KEY, {columns}); CREATE TABLE keyless ({columns}, other text DEFAULT 'o');
        INSERT INTO keyed SELECT n, {values} FROM generate_series(1, 20) n;
        INSERT INTO keyless SELECT {values} FROM generate_series(1, 20) n;
    """.encode()
    )
    plan = f"ALTER TABLE keyed {changes}; ALTER TABLE keyless {changes}; DROP TYPE mood;"
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    assert receipt.verdict in ("clean", "hazard")
    before = dump_text(database, "--schema=public")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        for name, (_, _, _, late) in RETYPED.items():
            for table in ("keyed", "keyless") if name in "af" else ("keyed",):
                key = ("id, ", "99, ") if table == "keyed" else ("", "")
                late_row = f"INSERT INTO {table} ({key[0]}{name}) VALUES ({key[1]}{late})"
                expected = rf"public\.{table}\.{name}: its type changes .* those of 1 row"
                comes_late = after_the_gate(connection, late_row)
                with pytest.raises(NotAsRehearsed, match=expected):
                    run_promotion(request_for(database, receipt, source), releases, secure=comes_late)
                connection.execute(f"DELETE FROM {table} WHERE ctid = (SELECT max(ctid) FROM {table})".encode())
        assert dump_text(database, "--schema=public") == before
        fits = "INSERT INTO keyed VALUES (99, 5, 5.5, '2026-01-01', 'fits', '7', 'sad', 0.5)"
        comes_late = after_the_gate(connection, fits)
        assert run_promotion(request_for(database, receipt, source), releases, secure=comes_late).applied


def after_the_gate(connection: Connection, statement: str) -> Callable[[], tuple[()]]:
    def write() -> tuple[()]:
        connection.execute(statement.encode())
        return ()

    return write
