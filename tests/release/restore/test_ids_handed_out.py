"""No number is handed out twice, asked of the sequences themselves: nextval() on both sides."""

from collections.abc import Callable

import pytest
from tests.support.restoring import rows, run

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.restore.ids_handed_out import MovedSequence, move_sequences
from pgrehearse.release.restore.touched import TouchedTable

pytestmark = pytest.mark.pg(">= 15")
ONCE = pytest.mark.pg("== 18")  # what is asked here is our own doing, and no version's
CopyOf = Callable[[Conninfo], Conninfo]

SEQUENCES = """
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial, what text);
CREATE SEQUENCE "Un""owned" INCREMENT 5;
CREATE SEQUENCE downwards INCREMENT -2 MAXVALUE -1;
CREATE SEQUENCE round MAXVALUE 10 CYCLE;
CREATE SEQUENCE never;
CREATE SEQUENCE resting;
CREATE SEQUENCE small AS smallint;
CREATE TABLE by_default (id bigint DEFAULT nextval('"Un""owned"'));
INSERT INTO t (what) SELECT 'x' FROM generate_series(1, 20);
SELECT nextval('"Un""owned"') FROM generate_series(1, 4);
SELECT nextval('downwards') FROM generate_series(1, 4);
SELECT nextval('round') FROM generate_series(1, 8);
SELECT nextval('resting') FROM generate_series(1, 6);
SELECT nextval('small');
"""


def move(failed: Conninfo, restored: Conninfo, **more: object) -> dict[str, MovedSequence]:
    with connect(failed, verb="test") as left, connect(restored, verb="test") as right:
        return {each.name: each for each in move_sequences(left, right, **more)}  # type: ignore[arg-type]


def next_of(database: Conninfo, sequence: str) -> object:
    with connect(database, verb="test") as session:
        return session.execute("SELECT nextval(%s)", (sequence,)).fetchone()[0]  # type: ignore[index]


def test_every_kind_of_sequence_goes_on_beyond_what_was_handed_out(database: Conninfo, copy_of: CopyOf) -> None:
    run(database, SEQUENCES)
    restored = copy_of(database)
    run(
        database,
        """INSERT INTO t (what) SELECT 'y' FROM generate_series(1, 30);
        DELETE FROM t WHERE id > 40;
        SELECT nextval('"Un""owned"') FROM generate_series(1, 3);
        SELECT nextval('downwards') FROM generate_series(1, 3);
        SELECT nextval('round') FROM generate_series(1, 5);
        ALTER SEQUENCE small AS int; SELECT setval('small', 40000);""",
    )
    handed_out = {
        name: next_of(database, name)
        for name in ("t_id_seq", "t_number_seq", '"Un""owned"', "downwards", "round", "small")
    }
    moved = move(database, restored)
    assert set(moved) == {
        '"public"."t_id_seq"', '"public"."t_number_seq"', '"public"."Un""owned"', '"public"."downwards"',
        '"public"."round"', '"public"."small"',
    }  # fmt: skip
    for name, step in (("t_id_seq", 1), ("t_number_seq", 1), ('"Un""owned"', 5), ("downwards", -2), ("round", 1)):
        assert next_of(restored, name) == handed_out[name] + step, name  # type: ignore[operator]
    assert "exhausted" in str(moved['"public"."small"'].told)
    with pytest.raises(Exception, match="reached maximum value"):
        next_of(restored, "small")
    assert next_of(restored, "never") == 1
    assert next_of(restored, "resting") == 7
    assert "cycles" in str(moved['"public"."round"'].told)


@ONCE
def test_it_may_be_run_again(database: Conninfo, copy_of: CopyOf) -> None:
    run(database, SEQUENCES)
    restored = copy_of(database)
    run(database, "SELECT nextval('resting')")
    assert set(move(database, restored)) == {'"public"."resting"'}
    assert move(database, restored) == {}


def test_where_the_migration_moved_one_back_the_columns_are_asked(database: Conninfo, copy_of: CopyOf) -> None:
    run(database, SEQUENCES)
    restored = copy_of(database)
    run(database, "INSERT INTO t (what) SELECT 'y' FROM generate_series(1, 30); ALTER SEQUENCE t_id_seq RESTART;"
                  "ALTER SEQUENCE t_number_seq RESTART 30")  # fmt: skip
    moved = move(database, restored)
    assert next_of(restored, "t_id_seq") == 51
    assert "moved it back" in str(moved['"public"."t_id_seq"'].told)
    # beyond the restored one's position: only the receipt knows that it was moved back
    assert moved['"public"."t_number_seq"'].last_now == 29
    assert next_of(restored, "t_number_seq") == 30
    again = move(database, restored, moved_back=frozenset({"public.t_number_seq"}))
    assert again['"public"."t_number_seq"'].last_now == 50


@ONCE
def test_a_number_written_by_hand_moves_nothing(database: Conninfo, copy_of: CopyOf) -> None:
    run(database, SEQUENCES)
    restored = copy_of(database)
    run(database, "INSERT INTO t (id, what) OVERRIDING SYSTEM VALUE VALUES (2000000000, 'sentinel')")
    move(database, restored)
    assert next_of(restored, "t_id_seq") == 21


def test_a_renamed_one_is_found_by_its_column(database: Conninfo, copy_of: CopyOf) -> None:
    run(database, SEQUENCES)
    restored = copy_of(database)
    run(database, 'ALTER SEQUENCE t_id_seq RENAME TO "other name";'
                  """ALTER TABLE t RENAME TO "T 2"; ALTER TABLE "T 2" RENAME id TO "Key";
                  INSERT INTO "T 2" (what) SELECT '' FROM generate_series(1, 5);
                  DELETE FROM "T 2" WHERE "Key" > 20""")  # fmt: skip
    touched = (
        TouchedTable(
            name="public.t",
            name_after='public."T 2"',
            renamed_columns={"id": "Key"},
            written_columns=frozenset(),
            adds_rows=False,
            deletes_rows=False,
        ),
    )
    assert move(database, restored, touched=touched)['"public"."t_id_seq"'].last_failed == 25
    assert next_of(restored, "t_id_seq") == 26


def test_a_dropped_one_is_told_and_its_column_asked(database: Conninfo, copy_of: CopyOf) -> None:
    run(database, SEQUENCES)
    restored = copy_of(database)
    run(database, "INSERT INTO t (what) VALUES ('y'); ALTER TABLE t ALTER id DROP IDENTITY; DROP SEQUENCE never")
    moved = move(database, restored)
    assert moved['"public"."t_id_seq"'].last_failed is None
    assert next_of(restored, "t_id_seq") == 22
    assert "no column takes its numbers" in str(moved['"public"."never"'].told)
    with connect(restored, verb="test") as session:
        assert rows(session, "SELECT last_value, is_called FROM never") == [(1, False)]
