"""Which folder and which of drizzle's tables a command works with."""

import json
from pathlib import Path

import pytest

from pgrehearse.errors import ConfigurationError
from pgrehearse.project import Project


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    (tmp_path / "drizzle" / "meta").mkdir(parents=True)
    journal = {"version": "7", "dialect": "postgresql", "entries": []}
    (tmp_path / "drizzle" / "meta" / "_journal.json").write_text(json.dumps(journal))
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_drizzles_table_is_the_configured_one_for_a_named_folder_too(project_folder: Path) -> None:
    (project_folder / "pgrehearse.toml").write_text(
        '[migrations]\npath = "drizzle"\ndrizzle_schema = "audit"\ndrizzle_table = "done"\n'
    )
    project = Project.open(None, start=project_folder)
    assert project.source(None).ledger.table == "audit.done"
    assert project.source(None).display == "drizzle"
    assert project.source(project_folder / "drizzle").ledger.table == "audit.done"


def test_without_configuration_a_folder_must_be_named(project_folder: Path) -> None:
    project = Project.open(None, start=project_folder)
    assert project.source(project_folder / "drizzle").ledger.table == "drizzle.__drizzle_migrations"
    with pytest.raises(ConfigurationError, match="no migrations folder was given"):
        project.source(None)
