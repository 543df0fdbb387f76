"""Projects made by the real drizzle-kit.  Without `make drizzle-peers` every test here is skipped, and counted."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.drizzle_kit import SCHEMAS, VERSIONS, DrizzleKit, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.drizzle)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], DrizzleKit]:
    """By version, a project with three migrations that drizzle-kit generated; made once, to be copied."""
    made: dict[str, DrizzleKit] = {}

    def make(version: str) -> DrizzleKit:
        if version not in made:
            kit = DrizzleKit.create(version, tmp_path_factory.mktemp(f"generated-{version}") / "project")
            for number, schema in enumerate(SCHEMAS):
                kit.extend_schema(schema)
                kit.generate(f"step{number}")
            made[version] = kit
        return made[version]

    return make


@pytest.fixture(params=VERSIONS)
def kit(request: pytest.FixtureRequest, generated: Callable[[str], DrizzleKit], tmp_path: Path) -> DrizzleKit:
    """A project of either version, with three generated migrations."""
    return generated(request.param).copied(tmp_path / "project")


@pytest.fixture
def kit_031(generated: Callable[[str], DrizzleKit], tmp_path: Path) -> DrizzleKit:
    return generated("031").copied(tmp_path / "project")


@pytest.fixture
def kit_10(generated: Callable[[str], DrizzleKit], tmp_path: Path) -> DrizzleKit:
    return generated("10").copied(tmp_path / "project10")
