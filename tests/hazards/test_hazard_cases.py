"""Every hazard: its bad script is found, its good one is not, and a server agrees; the remedy runs as it is printed.

A case is a folder: ``setup.sql``, ``bad.sql`` and ``good.sql``.  A script whose first line is
``-- fails: SQLSTATE`` must fail so on the tables of the setup.
"""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import Statement, TransactionNeed, split_file
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.locks import LockMode

CASES = Path(__file__).parent / "cases"
HAZARDS = sorted(folder.name for folder in CASES.iterdir())
LATER_STEP = re.compile(r"^-- (?=(?:ALTER|CREATE|DROP|UPDATE)\b)", re.MULTILINE)
RESET = """
    SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
STRONGEST = """
    SELECT mode FROM pg_catalog.pg_locks
    WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted AND relation = %s
"""


def script(hazard: str, name: str) -> str:
    return (CASES / hazard / f"{name}.sql").read_text(encoding="utf-8")


def migration(text: str, kind: SourceKind = SourceKind.DRIZZLE_JOURNAL) -> Migration:
    return Migration(version="case", name="case", path="case.sql", kind=kind, content=text.encode())


def lint(text: str) -> LintResult:
    return lint_files([migration(text)])


def hazards_in(text: str) -> set[str]:
    return {finding.hazard for finding in lint(text).findings}


def statements_of(text: str) -> tuple[Statement, ...]:
    return split_file(text.encode(), path="case.sql", kind=SourceKind.AD_HOC)


def test_every_case_has_a_hazard() -> None:
    assert set(HAZARDS) <= CATALOGUE.keys()


@pytest.mark.parametrize("hazard", HAZARDS)
def test_the_bad_script_is_found_and_the_good_one_is_not(hazard: str) -> None:
    assert hazard in hazards_in(script(hazard, "bad"))
    assert hazard not in hazards_in(script(hazard, "good"))


@pytest.mark.parametrize("hazard", HAZARDS)
def test_texts_are_filled_in_with_the_users_own_names(hazard: str) -> None:
    for finding in lint(script(hazard, "bad")).findings:
        assert "{" not in finding.message + finding.remedy
        assert finding.remedy
        if finding.relation is not None:
            assert finding.relation.split(".")[1] in finding.message
            assert finding.relation.split(".")[1] in finding.remedy


@pytest.mark.parametrize("hazard", HAZARDS)
def test_the_remedy_does_not_repeat_the_hazard(hazard: str) -> None:
    """Its later steps stand in comments.  An exclusion constraint has no better way, and says so."""
    for finding in lint(script(hazard, "bad")).findings:
        if finding.hazard == hazard != "add-exclusion":
            assert hazard not in hazards_in(finding.remedy)


@pytest.mark.pg(">= 14")
@pytest.mark.parametrize("hazard", HAZARDS)
def test_scripts_and_remedy_do_on_a_server_what_lint_says(hazard: str, connection: Connection) -> None:
    bad, good = script(hazard, "bad"), script(hazard, "good")
    for text in (bad, good):
        reset(connection, script(hazard, "setup"))
        expected = re.match(r"-- fails: (\w+)", text)
        if expected is None:
            run(connection, text)
        else:
            with pytest.raises(psycopg.Error) as caught:
                run(connection, text)
            assert caught.value.sqlstate == expected[1]
    for finding in lint(bad).findings:
        if finding.hazard == hazard:
            reset(connection, script(hazard, "setup"))
            run_whole_recipe(connection, finding.remedy)


def reset(connection: Connection, setup: str) -> None:
    for (name,) in connection.execute(RESET).fetchall():
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
    connection.execute("CREATE SCHEMA public")
    connection.execute(setup.encode())


def run(connection: Connection, text: str) -> None:
    """Statement by statement, each in its own transaction, its locks compared with what lint says of it."""
    linted = lint_files([migration(text, SourceKind.AD_HOC)]).statements
    statements = statements_of(text)
    assert [each.sql for each in linted] == [each.text for each in statements]
    for statement, predicted in zip(statements, linted, strict=True):
        if statement.need is not TransactionNeed.ANY:
            connection.execute(statement.text.encode())
            continue
        oids = {name: oid_of(connection, name) for name in predicted.locks}
        with connection.transaction():
            connection.execute(statement.text.encode())
            for name, mode in predicted.locks.items():
                assert strongest_lock(connection, oids[name]) == mode, (statement.text, name)


def run_whole_recipe(connection: Connection, remedy: str) -> None:
    """The later steps too; what a person must fill in (<the type of …>) is filled in here."""
    recipe = LATER_STEP.sub("", remedy).replace("<the type of nick>", "varchar(20)")
    if "status IS NOT NULL" in recipe:  # "fill the old rows in batches" is the application's part
        recipe = recipe.replace("CHECK", "/* filled */ CHECK", 1)
        added, _, rest = recipe.partition("\n")
        recipe = f"{added}\nUPDATE users SET status = 'x';\n{rest}"
    for statement in statements_of(recipe):
        connection.execute(statement.text.encode())


def oid_of(connection: Connection, name: str) -> int:
    row = connection.execute("SELECT pg_catalog.to_regclass(%s)::oid", (name,)).fetchone()
    assert row is not None
    assert isinstance(row[0], int), f"{name} did not exist before the statement"
    return row[0]


def strongest_lock(connection: Connection, oid: int) -> LockMode | None:
    modes = [LockMode(mode) for (mode,) in connection.execute(STRONGEST, (oid,)).fetchall()]
    return max(modes, key=lambda mode: mode.strength, default=None)
