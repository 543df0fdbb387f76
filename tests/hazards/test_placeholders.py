"""Names that a tool fills in later: Flyway's ``${schema}``, psql's ``:schema`` from outside; no catalog knows them."""

import pytest

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.hazards.model import Model, Relation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.migrations.migration import Migration, SourceKind


def lint(text: str, *, as_executed: bool = False) -> LintResult:
    """Against a catalog of one table, public.here."""
    here = RelationName("public", "here")
    model = Model(complete=True, server_major=18, relations={here: Relation(name=here, knows=True)})
    migration = Migration(version="x", name="x", path="x.sql", kind=SourceKind.AD_HOC, content=text.encode())
    return lint_files([migration], model=model, as_executed=as_executed)


def told(result: LintResult, level: Level = Level.ERROR) -> set[str]:
    return {each.hazard for each in result.findings if each.level.reaches(level)}


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE ${schema}.audit ADD COLUMN x int",
        "ALTER TABLE ${flyway:defaultSchema}.audit ADD COLUMN x int",
        "ALTER TABLE audit_${year} ADD COLUMN x int",
        "CREATE INDEX CONCURRENTLY ON :schema.audit (id)",
        'ALTER TABLE :"schema".audit ADD COLUMN x int',
        'ALTER TABLE :"schema".:"table" ADD COLUMN x int DEFAULT 3',
        "INSERT INTO ${schema}.audit (id) VALUES (:'id')",
        "CREATE TABLE ${schema}.fresh (id int); INSERT INTO fresh_too VALUES (1)",
        "GRANT SELECT ON ${schema}.audit TO :role",
    ],
)
def test_what_a_placeholder_names_is_not_missing(text: str) -> None:
    assert told(lint(text)) == set()


@pytest.mark.parametrize(
    ("text", "hazard"),
    [
        ("DROP TABLE ${schema}.audit", "drop-table"),
        ("ALTER TABLE :schema.audit DROP COLUMN x", "drop-column"),
        ('TRUNCATE :"schema".audit', "truncate"),
        ("ALTER TABLE here RENAME TO ${new}", "rename-table"),
    ],
)
def test_what_it_does_is_told_as_by_the_text(text: str, hazard: str) -> None:
    assert hazard in told(lint(text))


def test_what_a_placeholder_made_is_new() -> None:
    text = "CREATE TABLE ${schema}.fresh (id int); ALTER TABLE ${schema}.fresh ALTER id TYPE bigint;"
    assert told(lint(f"{text} CREATE INDEX ON ${{schema}}.fresh (id)"), Level.WARNING) == set()


def test_other_statements_meet_the_catalog() -> None:
    assert told(lint("ALTER TABLE here ADD COLUMN x int; DROP TABLE nowhere")) == {"missing-object"}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '12:30:00'::time, a[1:2], a [b :c] FROM here",
        "SELECT JSON_OBJECT('a':id, 'b' :id) FROM here",
        """SELECT '{"a":"b", "c":x}'::json, $$ :x $$ -- :y""",
    ],
)
def test_colons_of_sql_itself_stay(text: str) -> None:
    result = lint(text)
    assert [each.sql for each in result.statements] == [text]


def test_what_is_sent_as_it_stands_is_read_as_it_stands() -> None:
    with pytest.raises(UnreadableSql):
        lint("ALTER TABLE :schema.audit ADD COLUMN x int", as_executed=True)
    with pytest.raises(UnreadableSql, match=r"syntax error"):
        lint("ALTER TABLE :schema.audit ADD COLUMN COLUMN COLUMN")
