"""Every hazard: its bad script is found, its good one is not, and a server agrees; the safe way runs as printed."""

import functools
import re
from importlib.resources import files

import psycopg
import pytest
from psycopg import sql

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.against import read_catalog
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.examples import Example, for_tests
from pgrehearse.hazards.finding import Finding, Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.hazards.model import Model, Relation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection

EXAMPLES = {hazard: Example.read(hazard) for hazard in sorted(CATALOGUE)}
FROM_TEXT = [hazard for hazard, example in EXAMPLES.items() if "needs" not in for_tests(example.bad)]
LATER_STEP = re.compile(
    r"^-- (?=(?:ALTER|CREATE|DROP|UPDATE|DELETE|SET|RESET|SELECT|REINDEX|GRANT)\b[^\n]*;)", re.MULTILINE
)
GAP = re.compile(r"<[a-z'][^>\n]*>|…")
# What PostgreSQL has no way for that harms nobody; their pages say so.
NO_OTHER_WAY = frozenset({"add-exclusion", "refresh-matview"})
NOT_THERE = frozenset({"set-tablespace"})  # no server of the tests has another tablespace
# What stands in the user's file, or what a person does, before a recipe's first statement and behind it.
BEFORE = {
    "attach-partition": "ALTER TABLE events_2025 ADD CONSTRAINT events_2025_bound CHECK (at >= '2025-01-01') NOT VALID",
    "backfill-in-ddl-transaction": "ALTER TABLE users ADD COLUMN city text",
    "create-index-after-alter": "ALTER TABLE users ADD COLUMN city text",
    "default-dropped-after-add": "ALTER TABLE users ADD COLUMN city text NOT NULL DEFAULT ''",
    "drop-primary-key": "ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey; DROP TABLE lines",
    "drop-type": "ALTER TABLE users DROP COLUMN feeling",
    "pk-using-index-nullable": "CREATE UNIQUE INDEX payments_pkey ON payments (order_id)",
    "publication-loses-table": "CREATE PUBLICATION shop FOR TABLE users",
    "publication-sends-less": "CREATE PUBLICATION shop FOR TABLE users",
    "rename-column": 'ALTER TABLE users ADD COLUMN "nickName" varchar(20)',
    "table-without-primary-key": "CREATE TABLE guests (name text)",
    "type-change-rechecks-constraints": "DROP VIEW adults",
    "validate-in-same-transaction": "ALTER TABLE users ADD CONSTRAINT grown CHECK (age >= 0) NOT VALID",
}
BEHIND = {
    "add-identity-column": "UPDATE orders SET number = id",
    "add-not-null-no-default": "UPDATE users SET status = 'x'",
    "add-serial": "UPDATE users SET number = id",
    "check-violated": "UPDATE users SET age = 18 WHERE age < 18",
    "type-change-rechecks-constraints": "ALTER TABLE users ADD CONSTRAINT nick_has_letters CHECK (true) NOT VALID",
    "enum-value-removal": "UPDATE users SET feeling = 'happy'",
    "fk-violated": "DELETE FROM days WHERE visits = 1000",
}
# These refuse a transaction, or mean something else when another stands around them.
BY_ITSELF = re.compile(r"\b(CONCURRENTLY|VACUUM|BEGIN|COMMIT|ADD VALUE|SYSTEM|DEFERRED|DELETE)\b")
RESET = """
    SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""


@functools.cache
def bad_findings(hazard: str) -> list[Finding]:
    example = EXAMPLES[hazard]
    return [finding for finding in example.lint(example.bad).findings if finding.hazard == hazard]


def test_every_hazard_has_its_scripts_and_every_folder_its_hazard() -> None:
    folders = {entry.name for entry in (files("pgrehearse.hazards") / "cases").iterdir() if entry.is_dir()}
    assert folders == CATALOGUE.keys()


@pytest.mark.parametrize("hazard", FROM_TEXT)
def test_the_bad_script_is_found(hazard: str) -> None:
    findings = bad_findings(hazard)
    assert findings
    for finding in findings:
        assert not re.search(r"[{}]", finding.message.replace("{table}", ""))
        assert finding.remedy
        assert len(set(finding.classes)) == len(finding.classes)


@pytest.mark.parametrize("hazard", EXAMPLES)
def test_the_good_script_has_neither_that_hazard_nor_any_error(hazard: str) -> None:
    example = EXAMPLES[hazard]
    findings = example.lint(example.good).findings
    assert hazard not in {finding.hazard for finding in findings} - NO_OTHER_WAY
    assert [finding.hazard for finding in findings if finding.level is Level.ERROR] == []


@pytest.mark.parametrize("hazard", FROM_TEXT)
def test_a_rule_gives_every_name_that_its_texts_ask_for(hazard: str) -> None:
    """A name that is lacking is shown as its own word in angle brackets."""
    gaps = {f"<{name.replace('_', ' ')}>" for name in CATALOGUE[hazard].names}
    for finding in bad_findings(hazard):
        assert [gap for gap in gaps if gap in finding.message + finding.remedy] == []


@pytest.mark.parametrize("hazard", FROM_TEXT)
def test_the_safe_way_does_not_repeat_the_hazard(hazard: str) -> None:
    """Its later steps stand in comments.  What PostgreSQL has no better way for says so."""
    for finding in bad_findings(hazard):
        found = {each.hazard for each in EXAMPLES[hazard].lint(finding.remedy).findings}
        assert hazard not in found - NO_OTHER_WAY


@pytest.mark.pg("== 18")
def test_scripts_and_safe_ways_do_on_a_server_what_is_said(connection: Connection) -> None:
    wrong: list[str] = []
    shop = Shop(connection)
    for hazard, example in sorted(EXAMPLES.items(), key=lambda item: item[1].setup):
        for script in (example.bad, example.good):
            wrong += [f"{hazard}: {each}" for each in _run_script(shop, example, script)]
        findings = bad_findings(hazard)
        if for_tests(example.bad).get("needs") == "catalog":
            shop.open(example.setup)
            findings = [each for each in _lint_against(connection, example.bad).findings if each.hazard == hazard]
            wrong += [] if findings else [f"{hazard}: not found with the catalog"]
            told = _lint_against(connection, example.good).findings
            wrong += [f"{hazard}: good: {each.hazard}" for each in told if each.level is Level.ERROR]
        if "not run" not in for_tests(example.bad):
            for finding in findings[:1]:
                problem = shop.run(example.setup, _recipe(hazard, finding.remedy))
                if problem is not None and hazard not in NOT_THERE:
                    wrong.append(f"{hazard}: the safe way: {problem[1]}")
    assert wrong == [], "\n".join(wrong)


class Shop:
    """A database with a setup's tables; made anew only where a script could not be rolled back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._setup: str | None = None

    def open(self, setup: str) -> None:
        """The setup's tables, as they were."""
        if self._setup == setup:
            return
        self._setup = setup
        for (name,) in self._connection.execute(RESET).fetchall():
            self._connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
        self._connection.execute("CREATE SCHEMA public")
        self._connection.execute(setup.encode())

    def run(self, setup: str, script: str) -> tuple[str | None, str] | None:
        """SQLSTATE and text of the first error; each statement by itself, or all in one transaction and rolled back."""
        self.open(setup)
        alone = BY_ITSELF.search(script) is not None
        if not alone:
            self._connection.execute("BEGIN")
        statement = script
        try:
            for statement in _statements(script):
                self._connection.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate, f"{statement}: {error.sqlstate} {error.diag.message_primary}"
        except UnreadableSql as error:
            return None, f"{error}: {script}"
        finally:
            if self._connection.info.transaction_status:
                self._connection.execute("ROLLBACK")
            if alone:
                self._connection.execute("RESET ALL")
                self._setup = None
        return None


def test_a_rewrite_of_a_large_table_tells_what_it_needs_on_disk() -> None:
    model = Model(complete=True, server_major=18)
    users = Relation(name=RelationName("public", "users"), knows=True, size_bytes=41 * 1024**3, rows=10**9)
    model.relations[users.name] = users
    result = lint_files([_migration(EXAMPLES["disk-headroom"].bad)], model=model)
    [finding] = [each for each in result.findings if each.hazard == "disk-headroom"]
    assert "41.0 GB" in finding.message
    users.size_bytes = 1024**2
    result = lint_files([_migration(EXAMPLES["disk-headroom"].bad)], model=model)
    assert "disk-headroom" not in {each.hazard for each in result.findings}


def _run_script(shop: Shop, example: Example, script: str) -> list[str]:
    """What is otherwise than its first lines say."""
    told = for_tests(script)
    if "not run" in told:
        return []
    problem = shop.run(example.setup, script)
    if problem is None:
        return [f"does not fail with {told['fails']}"] if "fails" in told else []
    return [] if problem[0] == told.get("fails") else [problem[1]]


def _recipe(hazard: str, remedy: str) -> str:
    """The later steps too, as far as nobody has to fill something in, and what a person does between them."""
    recipe = "\n".join(line for line in LATER_STEP.sub("", remedy).splitlines() if not GAP.search(line))
    if hazard in BEHIND:
        first, _, rest = recipe.partition(";\n")
        recipe = f"{first};\n{BEHIND[hazard]};\n{rest}"
    return f"{BEFORE[hazard]};\n{recipe}" if hazard in BEFORE else recipe


def _lint_against(connection: Connection, script: str) -> LintResult:
    with connection.transaction():
        model = read_catalog(connection)
        return lint_files([_migration(script)], model=model, transaction=TransactionMode.STATEMENT)


def _migration(text: str) -> Migration:
    return Migration(version="x", name="x", path="bad.sql", kind=SourceKind.AD_HOC, content=text.encode())


def _statements(text: str) -> list[str]:
    return [each.text for each in split_file(text.encode(), path="x.sql", kind=SourceKind.AD_HOC)]
