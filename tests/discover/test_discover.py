"""What a folder says, and the file that is written from it."""

import json
import re
from pathlib import Path

import pytest

from pgrehearse.config import load_config
from pgrehearse.discover.folder import Discovered, discover
from pgrehearse.discover.toml_text import toml_text
from pgrehearse.errors import ConfigurationError
from pgrehearse.migrations.migration import SourceKind

LOCAL = "postgres://u:canary-5ecret@localhost/shop"
REMOTE = "postgresql://u:canary-5ecret@db.example/shop"
POOLED = "postgresql://u:canary-5ecret@ep-cool-pooler.example/shop"


def write(directory: Path, **files: str) -> None:
    """``env_production`` writes ``.env.production``."""
    for name, text in files.items():
        (directory / ("." + name.replace("_", "."))).write_text(text)


def environments(found: Discovered) -> dict[str, tuple[str, str | None, bool]]:
    return {each.name: (each.url_variable, each.env_file, each.protected) for each in found.environments}


def test_env_files_become_environments(tmp_path: Path) -> None:
    write(
        tmp_path,
        env=f"DATABASE_URL={LOCAL}\nSECRET=x\n",
        env_production=f"DATABASE_URL='{REMOTE}'\nREDIS_URL=redis://x\n",
        env_staging=f"export DATABASE_URL={REMOTE}\n",
        env_example="DATABASE_URL=postgres://user:password@host/db\n",
        envrc=f"export DATABASE_URL={REMOTE}\n",
    )
    found = discover(tmp_path)
    assert environments(found) == {
        "prd": ("DATABASE_URL", ".env.production", True),
        "dev": ("DATABASE_URL", ".env", False),
        "uat": ("DATABASE_URL", ".env.staging", False),
    }
    assert found.environments[0].name == "prd"
    assert "canary" not in repr(found) + toml_text(found)


@pytest.mark.parametrize("name", ["env", "env_local", "env_shop"])
def test_a_remote_host_that_nothing_describes_is_taken_for_production(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: f"DATABASE_URL={REMOTE}"})
    found = discover(tmp_path)
    assert environments(found) == {"prd": ("DATABASE_URL", "." + name.replace("_", "."), True)}
    assert "write false if it is not" in toml_text(found)


@pytest.mark.parametrize("name", ["env_development_local", "env_test", "env_preview"])
def test_a_file_that_says_what_it_is_is_believed(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: f"DATABASE_URL={REMOTE}", "env_production_local": f"DATABASE_URL={REMOTE}"})
    found = {each.env_file: each.protected for each in discover(tmp_path).environments}
    assert found == {"." + name.replace("_", "."): False, ".env.production.local": True}


def test_files_for_the_same_name_keep_apart(tmp_path: Path) -> None:
    write(tmp_path, env_production=f"DATABASE_URL={REMOTE}", env_prod=f"DATABASE_URL={REMOTE}")
    assert sorted(environments(discover(tmp_path))) == ["env-production", "prd"]


def test_productions_variable_is_expected_where_it_was_not_found(tmp_path: Path) -> None:
    assert environments(discover(tmp_path)) == {"prd": ("DATABASE_URL", None, True)}
    write(tmp_path, env=f"DATABASE_URL={LOCAL}")
    assert environments(discover(tmp_path)) == {
        "prd": ("PRODUCTION_DATABASE_URL", None, True),
        "dev": ("DATABASE_URL", ".env", False),
    }


def test_a_direct_url_is_preferred_to_a_pooled_one(tmp_path: Path) -> None:
    write(tmp_path, env_production=f"DATABASE_URL={POOLED}\nDATABASE_URL_UNPOOLED={REMOTE}\n")
    assert environments(discover(tmp_path))["prd"][0] == "DATABASE_URL_UNPOOLED"
    write(tmp_path, env_production=f"DIRECT_URL={REMOTE}\nA_URL={REMOTE}\nDATABASE_URL={REMOTE}\n")
    assert environments(discover(tmp_path))["prd"][0] == "DATABASE_URL"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("drizzle/meta/_journal.json", SourceKind.DRIZZLE_JOURNAL),
        ("drizzle/20240101000000_init/migration.sql", SourceKind.DRIZZLE_FOLDER),
        ("supabase/migrations/20240101000000_init.sql", SourceKind.SQL_FOLDER),
        ("db/migrations/0001_init.sql", SourceKind.SQL_FOLDER),
        ("0001_init.sql", SourceKind.SQL_FOLDER),
        ("db/0001_init.sql", SourceKind.SQL_FOLDER),
        ("server/schema-changes/0001_init.sql", SourceKind.SQL_FOLDER),
        ("packages/drizzle/meta/_journal.json", SourceKind.DRIZZLE_JOURNAL),
    ],
)
def test_usual_folders_are_found_by_what_they_hold(tmp_path: Path, file: str, kind: SourceKind) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"version":"7","dialect":"postgresql","entries":[]}' if file.endswith("json") else "SELECT 1;")
    found = discover(tmp_path).migrations
    assert found is not None
    assert found.kind is kind
    expected = path.parent.parent if kind is not SourceKind.SQL_FOLDER else path.parent
    assert tmp_path / found.path == expected


def test_of_several_unusual_folders_the_nearest_is_taken_and_the_others_are_told(tmp_path: Path) -> None:
    for path in ("node_modules/driver/0001_theirs.sql", "apps/shop/0001_far.sql", "changes/0001_near.sql"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("SELECT 1;")
    found = discover(tmp_path)
    assert found.migrations is not None
    assert found.migrations.path == "changes"
    assert found.notes == ("apps/shop holds migrations too; only one folder can be configured.",)


def test_an_empty_folder_and_a_prisma_folder_are_no_migrations(tmp_path: Path) -> None:
    (tmp_path / "drizzle").mkdir()
    (tmp_path / "migrations" / "20240101000000_init").mkdir(parents=True)
    (tmp_path / "migrations" / "20240101000000_init" / "migration.sql").write_text("SELECT 1;")
    (tmp_path / "migrations" / "migration_lock.toml").write_text("")
    found = discover(tmp_path)
    assert found.migrations is None
    assert found.notes == ("migrations is a Prisma folder, which pgrehearse does not read.",)


def test_drizzles_config_decides_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "1_x.sql").write_text("SELECT 1;")
    (tmp_path / "drizzle.config.ts").write_text("export default { dialect: 'postgresql', out: './pg' }")
    found = discover(tmp_path)
    assert found.migrations is not None
    assert (found.migrations.path, found.migrations.kind) == ("pg", None)
    assert found.notes == ("pg, which drizzle.config.ts names, holds no migrations yet.",)


def test_a_url_in_drizzles_config_is_never_repeated(tmp_path: Path) -> None:
    (tmp_path / "drizzle.config.json").write_text(
        json.dumps({"dialect": "postgresql", "dbCredentials": {"url": REMOTE}})
    )
    found = discover(tmp_path)
    assert "canary" not in repr(found) + toml_text(found)
    assert any("plain text" in note for note in found.notes)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        discover(tmp_path / "absent")


# --- the file that is written ------------------------------------------------------------------------


def rich_project(directory: Path) -> Discovered:
    write(directory, env=f"DATABASE_URL={LOCAL}", env_production=f"DATABASE_URL={REMOTE}")
    (directory / "drizzle.config.ts").write_text(
        "export default { dialect: 'postgresql', out: 'drizzle', migrations: { schema: 'au\"dit', table: 'done' } }"
    )
    return discover(directory)


def test_the_written_file_is_read_back_as_it_was_meant(tmp_path: Path) -> None:
    (tmp_path / "pgrehearse.toml").write_text(toml_text(rich_project(tmp_path)))
    config = load_config(tmp_path / "pgrehearse.toml")
    assert config.environments["prd"].protected
    assert config.conninfo("prd").address == "db.example/shop"
    assert config.conninfo("dev").address == "localhost/shop"
    assert config.migrations.path == "drizzle"
    assert (config.migrations.drizzle_schema, config.migrations.drizzle_table) == ('au"dit', "done")


@pytest.mark.parametrize("rich", [True, False])
def test_every_key_in_a_comment_is_valid_and_every_key_stands_there(tmp_path: Path, rich: bool) -> None:
    text = toml_text(rich_project(tmp_path) if rich else discover(tmp_path))
    in_force = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    (tmp_path / "pgrehearse.toml").write_text(in_force)
    config = load_config(tmp_path / "pgrehearse.toml")
    for section in (config.migrations, config.clone, config.checks, config.ledger):
        missing = {key for key in type(section).model_fields if not re.search(rf"^{key} = ", in_force, re.MULTILINE)}
        assert missing == set()


def test_comments_tell_the_defaults(tmp_path: Path) -> None:
    """What a commented key shows is what holds without it, unless it is an example."""
    examples = {"role", "command", "path", "url_env", "env_file", "max_block_s", "jobs", "directory"}
    text = toml_text(discover(tmp_path))
    (tmp_path / "pgrehearse.toml").write_text(text)
    plain = load_config(tmp_path / "pgrehearse.toml")
    (tmp_path / "pgrehearse.toml").write_text(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))
    in_force = load_config(tmp_path / "pgrehearse.toml")
    for name in ("migrations", "clone", "checks", "promotion", "backup", "ledger"):
        kept = getattr(plain, name).model_dump(exclude=examples)
        assert getattr(in_force, name).model_dump(exclude=examples) == kept
