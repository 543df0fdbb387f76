"""How far production may differ from the rehearsal is what the file declares; and a refusal says what to declare."""

from pathlib import Path

import pytest
from tests.release.test_watch import SESSIONS, run_watched, state
from tests.support.promoting import rehearse_folder

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.migrations.expectation import Verb
from pgrehearse.migrations.expectations import parse_expectations
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.rows import RowsDiffer

NEWEST = pytest.mark.pg("== 18")


@pytest.mark.parametrize(
    ("verb", "rehearsed", "here", "line"),
    [
        (Verb.UPDATES, 48_112, 48_391, "expect updates public.t within 1%"),
        (Verb.DELETES, 100, 110, "expect deletes public.t within 20%"),
        (Verb.INSERTS, 3, 40, "expect inserts public.t within 100 rows"),
        (Verb.DELETES, 0, 3, "expect deletes public.t between 0 and 5 rows"),
    ],
)
def test_a_refusal_suggests_a_line_that_would_have_let_it(verb: Verb, rehearsed: int, here: int, line: str) -> None:
    differs = RowsDiffer(relation="public.t", verb=verb, rehearsed=rehearsed, here=here, allowed=None)
    assert differs.suggestion == f"-- pgrehearse: {line}"
    text = f"{differs.suggestion}\nSELECT 1;".encode()
    file = Migration(version="1", name="m", path="m.sql", kind=SourceKind.AD_HOC, content=text)
    (found,) = parse_expectations(file, split_file(text, path="m.sql", kind=file.kind))
    assert found.bound is not None
    assert found.bound.tolerates(rehearsed, here, drift=0, rehearsed=rehearsed, rows_before=50_000)


BACKFILL = "UPDATE sessions SET note = 'y';"


@NEWEST
def test_a_backfill_over_more_rows_is_refused_with_the_line_that_would_have_let_it(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(tmp_path, database, uat, BACKFILL)
    connection.execute("INSERT INTO sessions VALUES (901, 1), (902, 2), (903, 3)")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"public.sessions: 200 rows updated in the rehearsal, 203 here") as caught:
        run_watched(database, receipt, source)
    assert state(database) == before
    assert "-- pgrehearse: expect updates public.sessions within 5%" in caught.value.remedy
    assert "deletes" not in caught.value.remedy
    receipt, source = rehearse_folder(
        tmp_path, database, uat, f"-- pgrehearse: expect updates public.sessions within 5%\n{BACKFILL}"
    )
    assert [each["outcome"] for each in receipt.document["declarations"]] == ["as-declared"]
    connection.execute("INSERT INTO sessions VALUES (904, 1)")
    told: list[str] = []
    run_watched(database, receipt, source, told)
    assert told == [
        "db/0001_step.sql:2: public.sessions: 203 rows updated in the rehearsal, 204 here, "
        "as declared (updates public.sessions within 5%)"
    ]


@NEWEST
def test_a_number_of_rows_holds_for_all_statements_below_it_together(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(
        tmp_path,
        database,
        uat,
        "-- pgrehearse: expect deletes sessions <= 22 rows\n"
        "DELETE FROM sessions WHERE user_id <= 10; DELETE FROM sessions WHERE user_id BETWEEN 11 AND 20;",
    )
    assert receipt.verdict == "clean"
    connection.execute("INSERT INTO sessions VALUES (901, 1), (902, 11), (903, 12)")
    before = state(database)
    with pytest.raises(
        NotAsRehearsed, match="10 rows deleted in the rehearsal, 12 here, beyond what is declared"
    ) as it:
        run_watched(database, receipt, source)
    assert "instead of what stands there" in it.value.remedy
    assert state(database) == before
    connection.execute("DELETE FROM sessions WHERE id = 903")
    told: list[str] = []
    run_watched(database, receipt, source, told)
    assert len(told) == 2


@NEWEST
def test_a_declaration_without_a_bound_or_of_another_table_allows_no_difference(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(
        SESSIONS + "CREATE SCHEMA app; CREATE TABLE app.sessions (id int); INSERT INTO app.sessions VALUES (1)"
    )
    receipt, source = rehearse_folder(
        tmp_path,
        database,
        uat,
        "-- pgrehearse: expect deletes app.sessions within 50 rows\n-- pgrehearse: expect deletes public.sessions\n"
        "DELETE FROM app.sessions;\nDELETE FROM sessions WHERE user_id > 100;",
    )
    assert receipt.verdict == "clean"
    connection.execute("INSERT INTO sessions VALUES (901, 901)")
    with pytest.raises(NotAsRehearsed, match=r"0001_step.sql:4: public.sessions: 100 rows .*, 101 here"):
        run_watched(database, receipt, source)
