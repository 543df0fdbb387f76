"""What depends on the session, its rights and its size, and what stands beside the tables."""

import json
from typing import Any

import pytest

from pgrehearse.data import rows
from pgrehearse.data.verdicts import ColumnLoss, ColumnVerdict, DataComparison, SequenceVerdict, TableLoss, TableVerdict
from pgrehearse.errors import DataNotCompared

pytestmark = pytest.mark.pg(">= 15")

Twins = Any  # tests/data/conftest.py


def counts(table: TableLoss) -> dict[str, tuple[int | None, int | None]]:
    """Columns that lost something: (changed, lost)."""
    return {column.name: (column.values_changed, column.values_lost) for column in table.columns if column.lost}


def only(compared: DataComparison, name: str) -> TableLoss:
    found: TableLoss = next(table for table in compared.tables if table.name == f"public.{name}")
    return found


def column(table: TableLoss, name: str) -> ColumnLoss:
    return next(found for found in table.columns if found.name == name)


def reasons(compared: DataComparison) -> dict[str, str]:
    return {fact.what: fact.reason for fact in compared.not_measured}


# --- nothing there


def test_no_tables_at_all(twins: Twins) -> None:
    twins.migrate()
    compared = twins.compare()
    assert compared.tables == ()
    assert not compared.lost
    assert compared.not_measured == ()


def test_our_own_namespace_and_ignored_tables_are_no_data(twins: Twins) -> None:
    twins.given(
        """CREATE SCHEMA pgrehearse; CREATE TABLE pgrehearse.applied (a int); INSERT INTO pgrehearse.applied VALUES (1);
        CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (a int);
        INSERT INTO drizzle.__drizzle_migrations VALUES (1)"""
    )
    twins.migrate("TRUNCATE pgrehearse.applied, drizzle.__drizzle_migrations")
    assert twins.compare(ignore_relations=frozenset({"drizzle.__drizzle_migrations"})).tables == ()
    assert twins.compare().lost


# --- dropped, made again


def test_a_renamed_table_is_followed_past_one_that_takes_its_name(twins: Twins) -> None:
    twins.given("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    twins.migrate("ALTER TABLE t RENAME TO t_old; DELETE FROM t_old; CREATE TABLE t (id int PRIMARY KEY)")
    compared = twins.compare()
    table = next(found for found in compared.tables if found.name_after == "public.t_old")
    assert (table.name, table.verdict, table.rows_lost) == ("public.t", TableVerdict.ROWS_LOST, 2)
    new = next(found for found in compared.tables if found.verdict is TableVerdict.NEW)
    assert new.as_json()["name"] is None
    assert new.name_after == "public.t"


# --- types


def test_a_cast_that_fails_is_not_measured_and_hides_nothing_else(twins: Twins) -> None:
    twins.given(
        "CREATE TABLE t (id int PRIMARY KEY, n int, v text);"
        " INSERT INTO t SELECT i, i, 'v' FROM generate_series(1, 9) i"
    )
    twins.migrate("ALTER TABLE t ALTER n TYPE text USING n || ' apples'; UPDATE t SET v = 'w' WHERE id = 2")
    compared = twins.compare()
    table = only(compared, "t")
    assert table.verdict is TableVerdict.VALUES_CHANGED
    assert column(table, "n").verdict is ColumnVerdict.UNMEASURED
    assert counts(table) == {"v": (1, 0)}
    assert "cast back" in reasons(compared)["public.t.n"]
    assert "apples" not in json.dumps(compared.as_json())


def test_a_type_that_is_gone_is_not_measured(twins: Twins) -> None:
    twins.given(
        """CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, p pair);
        INSERT INTO t SELECT i, ROW(i, i)::pair FROM generate_series(1, 9) i"""
    )
    twins.migrate("ALTER TABLE t ALTER p TYPE int USING (p).a; DROP TYPE pair")
    assert "does not exist any more" in reasons(twins.compare())["public.t.p"]


@pytest.mark.pg(">= 18")
def test_virtual_columns_are_data(twins: Twins) -> None:
    twins.given(
        """CREATE TABLE t (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL);
        INSERT INTO t SELECT i, i FROM generate_series(1, 9) i"""
    )
    twins.migrate("ALTER TABLE t ALTER b SET EXPRESSION AS (CASE WHEN id = 3 THEN 0 ELSE a * 2 END)")
    assert counts(only(twins.compare(), "t")) == {"b": (1, 0)}


# --- rights


def test_row_level_security_is_not_measured_for_an_ordinary_role(twins: Twins, ordinary_role: str) -> None:
    twins.given(
        f"""CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); GRANT SELECT ON t TO {ordinary_role};
        ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id = 1)"""
    )
    twins.migrate("DELETE FROM t WHERE id = 2")
    twins.role = ordinary_role
    compared = twins.compare()
    assert compared.tables == ()
    assert "row-level security" in reasons(compared)["public.t"]
    twins.role = None
    assert only(twins.compare(), "t").rows_lost == 1


def test_a_table_without_the_right_to_read_it_is_not_measured(twins: Twins, ordinary_role: str) -> None:
    twins.given(
        f"""CREATE TABLE seen (id int PRIMARY KEY); CREATE TABLE unseen (id int PRIMARY KEY);
        INSERT INTO unseen VALUES (1);
        CREATE SCHEMA closed; CREATE TABLE closed.t (id int); CREATE SEQUENCE s;
        GRANT SELECT ON seen TO {ordinary_role};
        GRANT SELECT ON closed.t TO {ordinary_role}; SELECT lo_from_bytea(0, 'x')"""
    )
    twins.migrate("DELETE FROM unseen")
    twins.role = ordinary_role
    compared = twins.compare()
    assert [table.name for table in compared.tables] == ["public.seen"]
    assert set(reasons(compared)) == {"public.unseen", "closed.t", "public.s", "large objects"}


def test_the_roles_own_settings_do_not_matter(twins: Twins, ordinary_role: str) -> None:
    twins.given(
        f"""CREATE TABLE t (id int PRIMARY KEY, at timestamptz, f float8, b bytea);
        INSERT INTO t SELECT i, now(), i / 7.0, 'x' FROM generate_series(1, 50000) i;
        GRANT SELECT ON t TO {ordinary_role}"""
    )
    twins.migrate("DELETE FROM t WHERE id = 5")
    name = twins.clone
    twins.given(
        f"""ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'; ALTER DATABASE {name} SET statement_timeout = '50ms';
        ALTER DATABASE {name} SET extra_float_digits = 0; ALTER DATABASE {name} SET bytea_output = 'escape';
        ALTER DATABASE {name} SET DateStyle = 'German'; ALTER DATABASE {name} SET search_path = 'nowhere'"""
    )
    table = only(twins.compare(), "t")
    assert (table.rows_lost, counts(table)) == (1, {})


def test_foreign_tables_are_told_but_hold_nothing_here(twins: Twins) -> None:
    twins.given(
        """CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing;
        CREATE FOREIGN TABLE there (a int) SERVER far"""
    )
    twins.migrate()
    compared = twins.compare()
    assert [(fact.what, fact.blocking) for fact in compared.not_measured] == [("public.there", False)]


# --- sequences, large objects


def test_sequences_that_would_repeat_themselves(twins: Twins) -> None:
    twins.given(
        """CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 20);
        CREATE TABLE u (id int GENERATED ALWAYS AS IDENTITY); INSERT INTO u SELECT FROM generate_series(1, 5);
        CREATE TABLE lagged (id serial); INSERT INTO lagged VALUES (100);
        CREATE SEQUENCE back START 50; SELECT nextval('back'), nextval('back'); CREATE SEQUENCE same;
        CREATE SEQUENCE gone;
        CREATE SEQUENCE full_up MAXVALUE 9223372036854775807; SELECT setval('full_up', 9223372036854775807)"""
    )
    twins.migrate(
        """SELECT setval('t_id_seq', 10); INSERT INTO u SELECT FROM generate_series(1, 5); ALTER SEQUENCE back RESTART;
        DROP SEQUENCE gone; CREATE TABLE w (id int); INSERT INTO w VALUES (7);
        ALTER TABLE w ALTER id SET NOT NULL, ALTER id ADD GENERATED ALWAYS AS IDENTITY"""
    )
    compared = twins.compare()
    states = {state.name.removeprefix("public."): state for state in compared.sequences}
    assert {name: state.verdict.value for name, state in states.items()} == {
        "t_id_seq": "behind",
        "u_id_seq": "advanced",
        "lagged_id_seq": "unchanged",
        "back": "moved-back",
        "same": "unchanged",
        "gone": "dropped",
        "full_up": "unchanged",
        "w_id_seq": "behind",
    }
    assert (states["t_id_seq"].next_before, states["t_id_seq"].next_after) == (21, 11)
    assert (states["t_id_seq"].furthest_value, states["t_id_seq"].column) == (20, "public.t.id")
    assert states["w_id_seq"].verdict is SequenceVerdict.BEHIND


def test_large_objects_are_compared_by_content(twins: Twins) -> None:
    twins.given(
        """SELECT lo_from_bytea(100, 'kept'), lo_from_bytea(101, 'changed'), lo_from_bytea(102, 'gone'), lo_create(103);
        SELECT lo_from_bytea(104, decode(repeat('ab', 5000), 'hex'))"""
    )
    twins.migrate("SELECT lo_unlink(102), lo_put(101, 0, 'X'), lo_from_bytea(105, 'new'), lo_put(104, 4999, 'Y')")
    compared = twins.compare()
    assert compared.lost
    assert compared.large_objects is not None
    assert compared.large_objects.as_json() == {
        "count_before": 5,
        "count_after": 5,
        "objects_lost": 1,
        "objects_changed": 2,
    }


# --- samples, progress, scale


def test_samples_are_read_only_when_asked_for(twins: Twins) -> None:
    twins.given(
        """CREATE TABLE t (id int PRIMARY KEY, v text);
        INSERT INTO t SELECT i, 'secret' || i FROM generate_series(1, 9) i;
        CREATE TABLE u AS SELECT * FROM t"""
    )
    twins.migrate("DELETE FROM t WHERE id = 2; UPDATE t SET v = NULL WHERE id = 3; DROP TABLE u")
    assert "secret" not in repr(twins.compare())
    samples = twins.compare(samples=2).samples
    told = {(sample.table, sample.key.get("id"), sample.after and sample.after["v"]) for sample in samples}
    assert ("public.t", "2", None) in told
    assert ("public.t", "3", None) in told
    assert sum(sample.table == "public.u" for sample in samples) == 2
    assert all(sample.before["v"].startswith("secret") for sample in samples if sample.before["v"])


def test_progress_counts_every_table_once(twins: Twins) -> None:
    twins.given("; ".join(f"CREATE TABLE t{number} (a int)" for number in range(12)))
    twins.migrate()
    seen: list[tuple[str, int, int]] = []
    twins.compare(progress=lambda *facts: seen.append(facts), jobs=3)
    assert [done for _, done, _ in seen] == list(range(1, 13))
    assert {name for name, _, _ in seen} == {f"public.t{number}" for number in range(12)}


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_only_differing_buckets_of_a_big_table_travel(twins: Twins, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "WORTH_BUCKETS", 100)
    twins.given(
        f"""CREATE TABLE t (id bigint {key}, v text, n numeric);
        INSERT INTO t SELECT i, 'v' || i % 100, i / 3.0 FROM generate_series(1, 20000) i"""
    )
    twins.migrate("UPDATE t SET v = v || '!' WHERE id % 4000 = 0; DELETE FROM t WHERE id % 6000 = 1")
    table = only(twins.compare(), "t")
    if key:
        assert (table.rows_lost, counts(table)) == (4, {"v": (5, 0)})
    else:
        assert table.rows_lost + sum(changed or 0 for changed, _ in counts(table).values()) == 9


def test_more_rows_alone_than_may_be_kept_count_as_lost_and_it_is_said(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_KEPT", 10)
    twins.given(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 50) i"
    )
    twins.migrate("UPDATE t SET id = id + 1000; DELETE FROM t WHERE id = 1003")
    compared = twins.compare()
    table = only(compared, "t")
    assert table.rows_lost + (column(table, "id").values_changed or 0) == 50
    assert "another key" in reasons(compared)["public.t"]


def test_keys_shifted_in_a_table_too_big_to_keep_are_counted_all_the_same(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_KEPT", 10)
    twins.given(
        """CREATE TABLE t (id int PRIMARY KEY, v text, n int);
        INSERT INTO t SELECT i, NULLIF('v' || i % 7, 'v3'), i % 5 FROM generate_series(1, 70) i"""
    )
    twins.migrate("UPDATE t SET id = -id - 1", "UPDATE t SET id = -id")
    compared = twins.compare(samples=2)
    assert (only(compared, "t").rows_lost, counts(only(compared, "t"))) == (0, {"id": (70, 0)})
    assert compared.not_measured == ()
    assert all(set(sample.key) == {"id"} and sample.before["v"] == sample.after["v"] for sample in compared.samples)


def test_a_session_that_breaks_is_an_error_not_a_verdict(twins: Twins) -> None:
    twins.given("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    twins.migrate()

    def kill(*_: object) -> None:
        twins.ask(
            "clone",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{twins.pristine}' AND application_name = 'pgrehearse:test'",
        )

    with pytest.raises(DataNotCompared):
        twins.compare(progress=kill, jobs=1)
