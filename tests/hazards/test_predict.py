"""Rules that need more than one statement's tree: types that are known, transactions, bodies, other tools' files."""

import pytest

from pgrehearse.hazards.finding import Finding, HazardClass, Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind

SETUP = """
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN plain AS text;
    CREATE DOMAIN checked AS text CHECK (VALUE <> '');
    CREATE FUNCTION stamped() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';
    CREATE FUNCTION counted() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
    CREATE FUNCTION wipe() RETURNS void LANGUAGE plpgsql AS 'BEGIN DELETE FROM orders; END';
    CREATE TABLE users (
        id bigint PRIMARY KEY, email varchar(255) NOT NULL, name text, age integer CHECK (age > 0), feeling mood,
        balance numeric(10, 2), at timestamp, note varchar(10)
    );
    CREATE TABLE orders (
        id bigint PRIMARY KEY, user_id bigint REFERENCES users ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
    );
    CREATE VIEW adults AS SELECT note FROM users;
"""


def lint(*texts: str, transaction: TransactionMode = TransactionMode.FILE) -> LintResult:
    migrations = [
        Migration(version=str(at), name="x", path=f"{at}.sql", kind=SourceKind.SQL_FOLDER, content=text.encode())
        for at, text in enumerate(texts)
    ]
    return lint_files(migrations, transaction=transaction)


def told(text: str, transaction: TransactionMode = TransactionMode.FILE) -> list[Finding]:
    result = lint(SETUP, text, transaction=transaction)
    return [each for each in result.findings if each.file == "1.sql" and each.level is not Level.INFO]


def hazards(text: str, transaction: TransactionMode = TransactionMode.FILE) -> list[str]:
    return [each.hazard for each in told(text, transaction)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALTER TABLE users ALTER email TYPE text", []),
        ("ALTER TABLE users ALTER email TYPE varchar(300) USING email::varchar(300)", []),
        ("ALTER TABLE users ALTER balance TYPE numeric(12, 2)", []),
        ("ALTER TABLE users ALTER name TYPE plain", []),
        ("ALTER TABLE users ALTER age TYPE integer", ["type-change-rechecks-constraints"]),
        ("ALTER TABLE users ALTER id TYPE integer", ["change-column-type"]),
        ("ALTER TABLE users ALTER name TYPE checked", ["change-column-type"]),
        ("ALTER TABLE users ALTER name TYPE integer", ["cast-fails"]),
        ("ALTER TABLE users ALTER note TYPE text", ["view-blocks-type-change"]),
        ("ALTER TABLE users ALTER balance TYPE numeric(12, 1)", ["change-column-type", "lossy-type-change"]),
        ("SET timezone = 'UTC'; ALTER TABLE users ALTER at TYPE timestamptz", []),
        ("SET timezone = 'Asia/Tokyo'; ALTER TABLE users ALTER at TYPE timestamptz", ["tz-dependent-type-change"]),
        ("ALTER TABLE users ADD c integer DEFAULT stamped()", []),
        ("ALTER TABLE users ADD c integer DEFAULT counted()", ["add-column-volatile-default"]),
        ("ALTER TABLE users ADD c timestamptz DEFAULT now()", []),
        ("ALTER TABLE users ADD c timestamptz DEFAULT clock_timestamp()", ["add-column-volatile-default"]),
        ("ALTER TABLE users ADD c plain", []),
        ("ALTER TABLE users ADD c checked", ["add-column-constrained-domain"]),
        ("ALTER TABLE users ALTER email SET NOT NULL", []),
        ("ALTER TABLE users DROP COLUMN note", ["dependants-remain"]),
    ],
)
def test_what_earlier_files_show_decides(text: str, expected: list[str]) -> None:
    assert hazards(text) == expected


NOT_VALID = "ALTER TABLE users ADD CONSTRAINT k CHECK (name <> '') NOT VALID;"


@pytest.mark.parametrize(
    ("text", "transaction", "expected"),
    [
        (NOT_VALID + "ALTER TABLE users VALIDATE CONSTRAINT k", TransactionMode.FILE, ["validate-in-same-transaction"]),
        (NOT_VALID + "ALTER TABLE users VALIDATE CONSTRAINT k", TransactionMode.STATEMENT, []),
        ("CREATE INDEX CONCURRENTLY i ON users (name)", TransactionMode.FILE, ["concurrently-in-transaction"]),
        ("CREATE INDEX CONCURRENTLY i ON users (name)", TransactionMode.STATEMENT, []),
        ("CREATE INDEX CONCURRENTLY i ON users (name)", TransactionMode.AUTO, []),
        ("BEGIN; CREATE INDEX CONCURRENTLY i ON users (name); COMMIT", TransactionMode.AUTO,
         ["concurrently-in-transaction"]),
        ("ALTER TABLE users ADD c text; CREATE INDEX i ON users (c)", TransactionMode.FILE,
         ["create-index-after-alter"]),
        ("ALTER TABLE users ADD c text; UPDATE users SET c = name", TransactionMode.FILE,
         ["backfill-in-ddl-transaction"]),
        ("ALTER TABLE users ADD c text; UPDATE users SET c = name", TransactionMode.STATEMENT, []),
        ("ALTER TABLE users ADD c text; UPDATE users SET c = name WHERE id = 5", TransactionMode.FILE, []),
        ("UPDATE orders SET user_id = user_id; ALTER TABLE orders ADD c text", TransactionMode.FILE,
         ["pending-trigger-events"]),
        ("ALTER TYPE mood ADD VALUE 'calm'; INSERT INTO users (feeling) VALUES ('calm')", TransactionMode.FILE,
         ["enum-add-value-used-same-tx"]),
        ("ALTER TYPE mood ADD VALUE 'calm'; INSERT INTO users (feeling) VALUES ('calm')", TransactionMode.STATEMENT,
         []),
    ],
)  # fmt: skip
def test_a_statement_means_what_its_transaction_makes_of_it(
    text: str, transaction: TransactionMode, expected: list[str]
) -> None:
    assert hazards(text, transaction) == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT wipe()",
        "DO $$ BEGIN PERFORM wipe(); END $$",
        "DO $$ BEGIN EXECUTE 'DELETE FROM ' || quote_ident('orders'); END $$",
        "DO $$ DECLARE t text; BEGIN FOREACH t IN ARRAY ARRAY['orders'] LOOP "
        "EXECUTE format('DELETE FROM %I', t); END LOOP; END $$",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT count(*) FROM gone",
        "PREPARE p AS DELETE FROM orders; EXECUTE p",
    ],
)
def test_rows_that_go_behind_a_body_are_told(text: str) -> None:
    [finding] = [each for each in told(text) if each.hazard == "delete-all"]
    assert finding.relation == "public.orders"
    locks = [
        mode.value for each in lint(SETUP, text).statements if each.file == "1.sql" for mode in each.locks.values()
    ]
    assert "RowExclusiveLock" in locks


def test_a_function_that_nobody_calls_does_nothing() -> None:
    assert hazards("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN DROP TABLE users; END'") == []


def test_rows_that_a_foreign_key_takes_are_told() -> None:
    [elsewhere] = [each for each in told("DELETE FROM users WHERE id < 3") if each.relation == "public.orders"]
    assert elsewhere.hazard == "cascade-delete-elsewhere"
    assert HazardClass.DATA_LOSS in elsewhere.classes


def test_an_update_that_changes_no_value_is_none() -> None:
    for assignment in ("name = name", "name = coalesce(name, '-')", "name = '-' WHERE name IS NULL"):
        assert hazards(f"UPDATE users SET {assignment}") == [], assignment
    assert hazards("UPDATE users SET name = '-'") == ["update-all"]


@pytest.mark.parametrize(
    "text",
    [
        "-- +goose Up\nSELECT 1;\n-- +goose Down\nDROP TABLE users;",
        "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n-- +goose StatementEnd\n-- +goose Down\nDROP TABLE users;",
        "-- migrate:up\nSELECT 1;\n\n-- migrate:down\nDROP TABLE users;",
        "-- Up Migration\nSELECT 1;\n-- Down Migration\nDROP TABLE users;",
        "SELECT 1;\n---- create above / drop below ----\nDROP TABLE users;",
        "--liquibase formatted sql\n--changeset me:1\nSELECT 1;\n--rollback DROP TABLE users;",
        "COPY users (name) FROM stdin;\nDROP TABLE users;\n\\.\n",
        "\\echo 'DROP TABLE users;'\n",
        "SELECT 'DROP TABLE users;'; /* DROP TABLE users; */",
    ],
)
def test_what_a_tool_would_not_run_is_not_told(text: str) -> None:
    assert "drop-table" not in hazards(text)


def test_what_a_tool_runs_is_told_in_its_place() -> None:
    text = "-- +goose Up\nDROP TABLE users;\n-- +goose Down\nDROP TABLE orders;"
    [finding] = [each for each in told(text) if each.hazard == "drop-table"]
    assert (finding.relation, finding.line, finding.column) == ("public.users", 2, 1)


def test_a_file_may_say_that_it_wants_no_transaction() -> None:
    index = "CREATE INDEX CONCURRENTLY i ON users (name);"
    assert hazards("-- +goose NO TRANSACTION\n-- +goose Up\n" + index) == []
    assert hazards("-- migrate:up transaction:false\n" + index) == []
    assert hazards("-- +goose Up\n" + index) == ["concurrently-in-transaction"]


def test_variables_of_psql_are_filled_in() -> None:
    [finding] = told("\\set doomed users\nDROP TABLE :doomed;\n")
    assert (finding.hazard, finding.relation) == ("drop-table", "public.users")


def test_what_nobody_knows_is_never_an_error() -> None:
    """Without a catalog, a finding that hangs on one says so."""
    for text in (
        "ALTER TABLE t ALTER c TYPE text",
        "DROP TABLE IF EXISTS t",
        "ALTER TABLE t ADD c integer DEFAULT f()",
    ):
        for finding in lint(text).findings:
            assert finding.level is not Level.ERROR, text
            if finding.level is Level.WARNING:
                assert "--against" in finding.message


def test_a_seed_of_many_rows_and_a_deep_expression_are_read() -> None:
    values = ", ".join(f"({number}, 'x')" for number in range(5000))
    assert lint(f"INSERT INTO t VALUES {values}").statements[0].locks
    deep = "SELECT " + "(" * 900 + "1" + ")" * 900
    assert lint(deep).statements
