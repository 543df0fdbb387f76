"""What lint finds, what it leaves alone, and what it says that it cannot see."""

import pytest

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.migrations.migration import Migration, SourceKind


def lint(*texts: str, kind: SourceKind = SourceKind.AD_HOC) -> LintResult:
    return lint_files(
        Migration(version=str(number), name="x", path=f"{number}.sql", kind=kind, content=text.encode())
        for number, text in enumerate(texts)
    )


def found(*texts: str) -> list[str]:
    return stopping(lint(*texts))


def stopping(result: LintResult) -> list[str]:
    """All but matters of taste."""
    return [finding.hazard for finding in result.findings if finding.level is not Level.INFO]


@pytest.mark.parametrize(
    ("text", "hazards"),
    [
        ("DROP TABLE a, shop.b", ["drop-table", "drop-table"]),
        ("DROP TABLE a CASCADE", ["drop-table", "drop-cascade"]),
        ("DROP FUNCTION f(integer) CASCADE", ["drop-function", "drop-cascade"]),
        ("DROP CAST (text AS integer) CASCADE", ["drop-cascade"]),
        ("DROP TRANSFORM FOR int LANGUAGE c CASCADE", ["drop-cascade"]),
        ("DROP OPERATOR + (int, int) CASCADE", ["drop-cascade"]),
        ("DROP TRIGGER g ON t CASCADE", ["drop-trigger", "drop-cascade"]),
        ("DROP EXTENSION e", ["drop-extension"]),
        ("DROP VIEW v", ["drop-view"]),
        ("DROP DOMAIN d CASCADE", ["drop-type-cascade-takes-columns"]),
        ("DROP INDEX CONCURRENTLY i", []),
        ("DROP INDEX i, j", ["drop-index", "drop-index"]),
        (
            "ALTER TABLE t DROP COLUMN c, DROP COLUMN IF EXISTS d CASCADE",
            ["drop-column", "drop-column", "drop-cascade"],
        ),
        ("ALTER TABLE t DROP CONSTRAINT k CASCADE", ["drop-constraint", "drop-cascade"]),
        ("ALTER TABLE t DROP CONSTRAINT k", ["drop-constraint"]),
        ("ALTER TABLE t ALTER c TYPE text USING c::text", ["change-column-type"]),
        ("ALTER TABLE t ADD c int NOT NULL", ["add-not-null-no-default"]),
        ("ALTER TABLE t ADD c int NOT NULL DEFAULT NULL", ["add-not-null-no-default"]),
        ("ALTER TABLE t ADD c int PRIMARY KEY", ["add-not-null-no-default", "add-primary-key"]),
        ("ALTER TABLE t ADD c int NOT NULL DEFAULT 1", []),
        ("ALTER TABLE t ADD c int NOT NULL GENERATED ALWAYS AS (1) STORED", ["add-generated-stored"]),
        ("ALTER TABLE t ADD c int REFERENCES other", []),
        ("ALTER TABLE t ADD c int DEFAULT 1 REFERENCES other", ["add-foreign-key"]),
        ("ALTER TABLE t ADD c int CHECK (c > 0)", ["add-check"]),
        ("ALTER TABLE t ADD c int UNIQUE", ["add-unique"]),
        ("ALTER TABLE t ADD CHECK (c > 0) NOT VALID", []),
        ("ALTER TABLE t ADD CONSTRAINT k CHECK (c > 0) NOT ENFORCED", []),
        ("ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (c) REFERENCES o NOT VALID", []),
        ("ALTER TABLE t ADD CONSTRAINT k NOT NULL c", ["set-not-null-breaks-writers", "set-not-null"]),
        ("ALTER TABLE t ADD CONSTRAINT k NOT NULL c NOT VALID", []),
        ("ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY USING INDEX i", ["pk-using-index-nullable"]),
        ("CREATE INDEX i ON ONLY t (c)", []),
        ("CREATE INDEX CONCURRENTLY i ON t (c)", []),
        ("ALTER VIEW v RENAME TO w", ["rename-view"]),
        ("ALTER VIEW v RENAME COLUMN a TO b", ["rename-column"]),
        ("ALTER TYPE pair DROP ATTRIBUTE a", ["drop-attribute"]),
        ("TRUNCATE a, b", ["truncate", "truncate"]),
        ("CREATE TABLE t OF pair (a WITH OPTIONS PRIMARY KEY)", []),
        ("CREATE TABLE p PARTITION OF t (a NOT NULL) FOR VALUES IN (1)", ["create-partition-of"]),
        ("INSERT INTO t VALUES ('DROP TABLE users;')", []),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DROP TABLE t'", []),
    ],
)
def test_a_statement_has_these_hazards(text: str, hazards: list[str]) -> None:
    assert found(text) == hazards


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (id int); CREATE INDEX ON t (id); DROP TABLE t;",
        "CREATE TABLE shop.t (id int); ALTER TABLE shop.t ADD PRIMARY KEY (id), ALTER id TYPE bigint;",
        "CREATE TEMP TABLE t (id int); TRUNCATE t;",
        "CREATE TABLE t AS SELECT 1 AS id; ALTER TABLE t ALTER id SET NOT NULL;",
        "SELECT 1 AS id INTO t; ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME COLUMN id TO i; DROP TABLE u;",
        "CREATE TABLE t (id int); CREATE INDEX i ON t (id); DROP INDEX i;",
        "CREATE TABLE IF NOT EXISTS t (id int); CREATE INDEX ON t (id);",
        "ALTER TABLE t ADD COLUMN c int; ALTER TABLE t RENAME COLUMN c TO d;",
        "SET search_path = shop, public; CREATE TABLE t (id int); DROP TABLE shop.t;",
    ],
)
def test_what_the_same_file_made_is_nobodys(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("texts", "hazards"),
    [
        (["CREATE TABLE t (id int);", "DROP TABLE t;"], ["drop-table"]),
        (
            ["DROP TABLE t; CREATE TABLE t (id int); CREATE INDEX ON t (id);"],
            ["drop-table", "create-table-force"],
        ),
        (["CREATE TABLE t (id int); DROP TABLE t; DROP TABLE t;"], ["drop-table"]),
        (["CREATE TABLE shop.t (id int); DROP TABLE t;"], ["drop-table"]),
        (["CREATE TABLE IF NOT EXISTS t (id int); DROP TABLE t;"], ["drop-table"]),
        (["BEGIN; CREATE TABLE t (id int); ROLLBACK; DROP TABLE t;"], ["drop-table"]),
        (["ALTER TABLE t ADD COLUMN IF NOT EXISTS c int; ALTER TABLE t DROP COLUMN c;"], ["drop-column"]),
        (["CREATE TABLE t (id int); ALTER TABLE t RENAME TO u; DROP TABLE t;"], ["drop-table"]),
    ],
)
def test_newness_is_not_believed_beyond_what_the_file_shows(texts: list[str], hazards: list[str]) -> None:
    assert found(*texts) == hazards


def test_files_of_one_plan_are_new_to_each_other() -> None:
    texts = ("CREATE TABLE t (id int);", "CREATE INDEX ON t (id); DROP TABLE t;", "DROP TABLE t;")
    migrations = [
        Migration(version=text, name="x", path="x.sql", kind=SourceKind.AD_HOC, content=text.encode()) for text in texts
    ]
    assert stopping(lint_files(migrations)) == [
        "create-index",
        "drop-table",
        "drop-table",
    ]
    assert stopping(lint_files(migrations, one_plan=True)) == ["drop-table"]


CHECKED = "ALTER TABLE t ADD CONSTRAINT k CHECK (c IS NOT NULL) NOT VALID;"
PROVED = "ALTER TABLE t VALIDATE CONSTRAINT k;"
SET = "ALTER TABLE t ALTER c SET NOT NULL;"


def test_a_proved_check_makes_set_not_null_safe_in_later_files_too() -> None:
    assert found(CHECKED, PROVED, SET) == []
    assert found("BEGIN;" + CHECKED + "COMMIT; BEGIN;" + PROVED + "COMMIT;" + SET) == []
    assert found(CHECKED + PROVED + SET) == ["validate-in-same-transaction"]
    assert found(CHECKED.replace(" NOT VALID", "") + SET) == ["add-check"]


@pytest.mark.parametrize(
    "text",
    [
        CHECKED + SET,
        CHECKED.replace("IS NOT NULL", "IS NULL") + PROVED + SET,
        CHECKED.replace("c IS", "d IS") + PROVED + SET,
        CHECKED + PROVED + "ALTER TABLE t DROP CONSTRAINT k;" + SET,
        CHECKED + PROVED + SET.replace("TABLE t", "TABLE u"),
    ],
)
def test_an_unproved_check_does_not(text: str) -> None:
    beside = {"validate-in-same-transaction", "set-not-null-breaks-writers"}
    assert [each for each in found(text) if each not in beside] == ["set-not-null"]


def test_a_view_under_the_old_name_bridges_a_rename() -> None:
    rename = "ALTER TABLE shop.t RENAME TO u;"
    assert found(rename + "CREATE VIEW shop.t AS SELECT * FROM shop.u;") == []
    assert found(rename + "CREATE VIEW t AS SELECT * FROM shop.u;") == ["rename-table"]


@pytest.mark.parametrize("kind", [SourceKind.DRIZZLE_JOURNAL, SourceKind.DRIZZLE_FOLDER])
def test_own_transactions_are_found_in_drizzle_folders_once_per_file(kind: SourceKind) -> None:
    text = "SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT;\nBEGIN;\nCOMMIT;"
    [finding] = lint(text, kind=kind).findings
    assert (finding.hazard, finding.line, finding.level) == ("nested-transaction", 2, Level.ERROR)
    assert finding.message.startswith("BEGIN in a file that its tool wraps")
    assert lint(text, kind=SourceKind.SQL_FOLDER).findings == ()


def test_places_and_names_are_the_users() -> None:
    result = lint('\ufeff-- first\r\n\r\n  ALTER TABLE "My Shop"."Users" DROP COLUMN "größe";\r\n')
    finding = result.findings[0]
    assert (finding.file, finding.line, finding.column) == ("0.sql", 3, 3)
    assert finding.relation == '"My Shop"."Users"'
    assert '"größe"' in finding.message
    assert 'CREATE TABLE "My Shop"."Users_größe_kept" AS SELECT * FROM "My Shop"."Users";' in finding.remedy
    assert result.statements[0].locks.keys() == {'"My Shop"."Users"'}


def test_made_up_names_keep_within_what_postgresql_keeps() -> None:
    long = "ü" * 31  # 62 bytes
    finding = lint(f'ALTER TABLE "{long}" ADD c int NOT NULL').findings[0]
    assert f'ADD CONSTRAINT "{long}_"' in finding.remedy


def test_names_with_braces_survive_the_texts() -> None:
    finding = lint('ALTER TABLE "{table}" DROP COLUMN "{0}"').findings[0]
    assert finding.message.startswith('drops the column "{0}" of "{table}" with')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DO $$ DECLARE s text; BEGIN SELECT stmt INTO s FROM todo; EXECUTE s; END $$", "a DO block"),
        ("EXECUTE wipe(1)", "EXECUTE wipe"),
        ("CREATE TABLE copy AS SELECT wipe(1)", "calls wipe()"),
        ("CALL shop.wipe()", "CALL shop.wipe()"),
        ("SELECT shop.wipe(lower(name)) FROM users", "calls shop.wipe()"),
        ("UPDATE users SET name = cleaned(name)", "calls cleaned()"),
        ("INSERT INTO users SELECT * FROM made_up(3)", "calls made_up()"),
    ],
)
def test_what_the_text_cannot_show_is_said(text: str, reason: str) -> None:
    [hidden] = lint(f"SELECT 1;\n{text};").not_visible
    assert (hidden.file, hidden.line) == ("0.sql", 2)
    assert hidden.reason.startswith(reason)


def test_postgresqls_own_functions_are_no_secret() -> None:
    text = (
        "SELECT pg_catalog.setval('s', max(id)) FROM t; UPDATE t SET a = lower(b), at = now(), u = gen_random_uuid();"
    )
    assert lint(text).not_visible == ()


def test_psql_commands_are_passed_over_and_said() -> None:
    result = lint("\\set ON_ERROR_STOP on\n\\i other.sql\nDROP TABLE t;\n\\echo 'done; really'\n")
    assert [(each.line, each.reason) for each in result.not_visible] == [
        (1, "\\set is a command of psql, not SQL, and run refuses it"),
        (2, "\\i is a command of psql, not SQL, and run refuses it"),
        (4, "\\echo is a command of psql, not SQL, and run refuses it"),
    ]
    assert [(finding.hazard, finding.line) for finding in result.findings if finding.level is Level.ERROR] == [
        ("drop-table", 3)
    ]


def test_a_file_that_is_no_sql_is_refused_with_its_place() -> None:
    with pytest.raises(UnreadableSql, match=r"^1\.sql:2:1: ") as caught:
        lint("SELECT 1;", "SELECT 1;\nALTR TABLE t;")
    assert caught.value.exit_code == 2


def test_passwords_in_statements_are_masked() -> None:
    result = lint("CREATE ROLE app PASSWORD 'canary-5ecret';")
    assert "canary" not in str(result)
    assert "***" in result.statements[0].sql


NOTES = [
    ("ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)", "fails where rows of t violate it"),
    ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES o", "fails where rows of t have no parent in o"),
    ("ALTER TABLE t ADD UNIQUE (a, b)", "fails where rows of t are equal in (a, b)"),
    ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "fails where rows of t are equal in (a)"),
    ("ALTER TABLE t ALTER a SET NOT NULL", "fails where t.a holds NULL"),
    ("ALTER TABLE t ALTER a TYPE int", "fails where the type or a value of t.a does not go with integer"),
    ("DROP TABLE t", "fails where anything that stays needs t"),
    ("DROP TYPE mood", "fails where anything that stays needs mood"),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey", "fails where t_pkey is a key that another table references"),
]


@pytest.mark.parametrize(("text", "said"), NOTES)
def test_what_may_fail_by_rows_is_noted_and_no_more(text: str, said: str) -> None:
    notes = [finding for finding in lint(text).findings if finding.hazard == "may-fail"]
    assert [note.level for note in notes] == [Level.INFO]
    assert notes[0].message.startswith(said)
    assert "may-fail" not in {
        finding.hazard for finding in lint(f"CREATE TABLE t (a int, b int); {text}").findings
    } or ("TYPE mood" in text)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t ADD CHECK (a > 0) NOT VALID",
        "ALTER TABLE t ADD CHECK (a > 0) NOT ENFORCED",
        "DROP TABLE t CASCADE",
        "CREATE INDEX ON t (a)",
        "ALTER TABLE t DROP CONSTRAINT k CASCADE",
    ],
)
def test_what_does_not_hang_on_rows_is_not_noted(text: str) -> None:
    assert "may-fail" not in {finding.hazard for finding in lint(text).findings}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ALTER TABLE t ALTER a TYPE uuid USING a::uuid", True),
        ("ALTER TABLE t ALTER a TYPE varchar(5) USING left(a, 5)", True),
        ("ALTER TABLE t ALTER a TYPE text USING a::text", False),
        ("ALTER TABLE t ALTER a TYPE text USING a", False),
        ("ALTER TABLE t ALTER a TYPE bigint", False),
    ],
)
def test_using_tells_that_the_old_type_was_another(text: str, told: bool) -> None:
    found_ = [each for each in lint(text).findings if each.hazard == "type-change-breaks-sql"]
    assert [each.level for each in found_] == ([Level.WARNING] if told else [])
    assert all("lint with --against tells" in each.message for each in found_)


def test_a_check_that_is_not_enforced_refuses_nobodys_rows() -> None:
    assert "set-not-null-breaks-writers" not in {
        each.hazard for each in lint("ALTER TABLE t ADD CHECK (a > 0) NOT ENFORCED").findings
    }
