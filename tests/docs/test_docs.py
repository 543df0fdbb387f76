"""The docs keep up with the code."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import BaseModel

from pgrehearse.cli.main import COMMANDS, error_document
from pgrehearse.config_sections import (
    Application,
    Backup,
    Checks,
    Clone,
    Environment,
    Ledger,
    Lint,
    Migrations,
    Promotion,
    Queries,
    Rehearsal,
)
from pgrehearse.errors import PgRehearseError
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.pages import index, page_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SECTIONS: dict[str, type[BaseModel]] = {
    "environments.NAME": Environment,
    "migrations": Migrations,
    "lint": Lint,
    "clone": Clone,
    "rehearsal": Rehearsal,
    "checks": Checks,
    "queries": Queries,
    "application": Application,
    "promotion": Promotion,
    "backup": Backup,
    "ledger": Ledger,
}
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]+)?(?:#([^)\s]+))?\)")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sections_of(text: str) -> dict[str, str]:
    """Heading of the second level -> what stands below it."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", SECTIONS)
def test_every_configuration_key_is_documented_and_no_other(name: str) -> None:
    documented = re.findall(r"^\| `(\w+)` \|", sections_of(page("docs/configuration.md"))[f"`[{name}]`"], re.MULTILINE)
    assert sorted(documented) == sorted(SECTIONS[name].model_fields)


def test_every_section_of_the_configuration_is_documented() -> None:
    headings = [heading for heading in sections_of(page("docs/configuration.md")) if heading.startswith("`[")]
    assert headings == [f"`[{name}]`" for name in SECTIONS]


@pytest.mark.parametrize("hazard", CATALOGUE)
def test_every_hazard_has_its_page_as_the_catalogue_writes_it(hazard: str) -> None:
    assert page(f"docs/hazards/{hazard}.md") == page_of(CATALOGUE[hazard]), "make hazard-pages"


def test_the_list_of_hazards_is_as_the_catalogue_writes_it() -> None:
    assert page("docs/hazards.md") == index(), "make hazard-pages"
    assert {file.stem for file in (ROOT / "docs" / "hazards").glob("*.md")} == CATALOGUE.keys()


def test_every_command_is_in_the_readme() -> None:
    table = re.findall(r"^\| (`pgrehearse .*?) \|", page("README.md"), re.MULTILINE)
    named = {word for row in table for code in re.findall(r"`([^`]+)`", row) for word in code.split()}
    assert COMMANDS.keys() - {"demo"} <= named
    assert "make demo" in page("README.md")


def test_every_published_schema_is_named() -> None:
    text = page("docs/exit-codes-and-json.md")
    for entry in files("pgrehearse.answers").iterdir():
        if entry.name.endswith(".schema.json"):
            assert f"`{entry.name}`" in text


def test_every_schema_that_is_named_exists() -> None:
    published = {entry.name for entry in files("pgrehearse.answers").iterdir()}
    assert set(re.findall(r"`(\w+\.schema\.json)`", page("docs/exit-codes-and-json.md"))) <= published


def test_every_error_is_listed_with_its_exit_code() -> None:
    found: list[type[PgRehearseError]] = [PgRehearseError]
    for each in found:
        found.extend(each.__subclasses__())
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page("docs/exit-codes-and-json.md"), re.MULTILINE))
    errors = {error_document(each("x"))["error"]["code"]: str(each.exit_code) for each in found[1:]}
    assert rows == errors


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        leads_to = (path.parent / target) if target else path
        assert leads_to.exists(), target
        if anchor:
            assert anchor in _anchors(leads_to), f"{target}#{anchor}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_decision_is_in_the_index() -> None:
    index = page("docs/decisions/README.md")
    for file in (ROOT / "docs" / "decisions").glob("0*.md"):
        assert f"]({file.name})" in index


def test_the_workflow_and_the_hooks_call_what_people_call() -> None:
    workflow = page(".github/workflows/ci.yml")
    for command in ("make demo", "make test", ".ci/run"):
        assert f"- run: {command}\n" in workflow
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    assert set(re.findall(r"entry: make (\S+)", page(".pre-commit-config.yaml"))) <= targets


def test_sql_that_a_server_reads_is_ascii() -> None:
    """Comments too: a database in LATIN1 refuses what it cannot hold."""
    files = [file for file in (ROOT / "src").rglob("*.sql") if "demo" not in file.parts]
    assert files
    assert [str(file) for file in files if not file.read_text(encoding="utf-8").isascii()] == []
