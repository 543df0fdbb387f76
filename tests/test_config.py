"""pgrehearse.toml: what it may say, and that every mistake is one line with file, key and remedy."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from pgrehearse.config import Config, find_config, load_config, resolve_database
from pgrehearse.config_sections import Backup, Checks, Clone, Environment, Ledger, Migrations, Promotion
from pgrehearse.errors import ConfigurationError, MalformedConninfo, PgRehearseError

SECRET = "canary-5ecret"
WHOLE = """
[environments.dev]
url = "postgresql:///dev_db?host=/run/postgresql"

[environments.prd]
url_env = "DATABASE_URL"
env_file = ".env.production"
migrate_url_env = "MIGRATE_URL"
standby_url_envs = ["STANDBY_URL"]
protected = true
max_block_s = 5
lock_timeout_s = 2.5
statement_timeout_s = 60
recoverability = ["before-images", "external"]

[migrations]
path = "drizzle"
transaction = "file"
role = "app_owner"
drizzle_schema = "drizzle"
drizzle_table = "__drizzle_migrations"

[clone]
same_server = false
create_roles = true
jobs = 4
directory = "/var/tmp"
keep = true

[checks]
directory = "checks"
command = "npm test"
url_variable = "TEST_DATABASE_URL"

[promotion]
max_age_hours = 12
approvals = 2
approved_by_another = true
max_change_percent = 10
max_replay_lag_s = 5
max_retained_wal_gb = 20
precondition_timeout_s = 60
lease_s = 30

[backup]
policy = "dump"
directory = "/backups"
dump_limit_gb = 10
scratch = "dev"
jobs = 4
external_command = "pgbackrest backup"
external_timeout_s = 600
drill_command = "cat drill-date"
max_drill_age_days = 30
keep = 3

[ledger]
path = "receipts/ledger.db"
url_env = "LEDGER_URL"
env_file = ".env.ledger"
"""


def written(directory: Path, text: str, **env_files: str) -> Path:
    for name, content in env_files.items():
        (directory / f".env.{name}").write_text(content, encoding="utf-8")
    file = directory / "pgrehearse.toml"
    file.write_text(text, encoding="utf-8")
    return file


def mistake(directory: Path, text: str) -> PgRehearseError:
    with pytest.raises(ConfigurationError) as caught:
        load_config(written(directory, text))
    error = caught.value
    assert error.exit_code == 2
    assert "\n" not in str(error)
    assert error.remedy
    assert "\n" not in error.remedy
    assert str(error).startswith("pgrehearse.toml: ")
    return error


def test_every_key_can_be_written(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    assert config.environments["prd"].protected
    assert config.environments["prd"].max_block_s == 5
    assert config.migrations == Migrations(path="drizzle", transaction="file", role="app_owner")
    assert config.clone == Clone(create_roles=True, jobs=4, directory="/var/tmp", keep=True)
    assert config.checks == Checks(command="npm test", url_variable="TEST_DATABASE_URL")
    assert config.environments["prd"].recoverability == ("before-images", "external")
    assert config.promotion == Promotion(
        max_age_hours=12, approvals=2, approved_by_another=True, max_change_percent=10, max_replay_lag_s=5,
        max_retained_wal_gb=20, precondition_timeout_s=60, lease_s=30,
    )  # fmt: skip
    assert config.backup.policy == ("dump",)
    assert config.backup.keep == 3
    assert config.ledger == Ledger(path="receipts/ledger.db", url_env="LEDGER_URL", env_file=".env.ledger")
    assert config.located(config.ledger.path) == tmp_path / "receipts/ledger.db"


def test_the_text_above_uses_every_key_there_is() -> None:
    sections: list[type[BaseModel]] = [Environment, Migrations, Clone, Checks, Promotion, Backup, Ledger]
    keys = {key for section in sections for key in section.model_fields}
    assert {key for key in keys if f"\n{key} = " not in WHOLE} == set()


def test_an_empty_file_is_a_configuration_of_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, ""))
    assert config.environments == {}
    assert config.migrations.transaction == "auto"
    assert not config.clone.same_server
    assert config.ledger.path == ".pgrehearse/ledger.db"


def test_facts_are_frozen(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    with pytest.raises(ValueError, match="frozen"):
        config.clone.same_server = True


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ('[enviroments.prd]\nurl_env="X"', "unknown key enviroments", "Did you mean environments?"),
        (
            '[environments.prd]\nurl_env="X"\nprotectd=true',
            "unknown key environments.prd.protectd",
            "Did you mean protected?",
        ),
        ('[migrations]\npaht="x"', "unknown key migrations.paht", "Did you mean path?"),
        ("[clone]\nzzz=1", "unknown key clone.zzz", "Known here: same_server"),
        ('file = "x"', "unknown key file", "Known here: migrations"),
        ("clone = true", "clone must be a table", "[clone]"),
        ("environments = 5", "environments must be a table", "[environments.NAME]"),
        ("[environments]\nprd = 1", "environments.prd must be a table", "[environments.prd]"),
        ('[environments."a b"]\nurl_env="X"', "environments.'a b' is no usable name", "letters"),
        ('[environments.prd]\nurl_env="X"\nprotected="yes"', "environments.prd.protected: input should", "every key"),
        ('[migrations]\ntransaction="each"', "migrations.transaction: input should be 'auto', 'plan'", "every key"),
        ("[clone]\njobs = 0", "clone.jobs: input should be greater", "every key"),
        ('[environments.prd]\nurl_env="X"\nlock_timeout_s=0', "environments.prd.lock_timeout_s: input should", "every"),
        ('[environments.prd]\nurl_env="X"\nmax_block_s=inf', "environments.prd.max_block_s: input should", "every"),
        ('[environments.prd]\nurl_env="X"\nmax_block_s="5"', "environments.prd.max_block_s: input should", "every"),
        ("[environments.prd]\nprotected=true", "environments.prd: needs exactly one of url_env and url", "url_env ="),
        ('[environments.prd]\nurl="service=a"\nurl_env="X"', "environments.prd: needs exactly one", "url_env ="),
        ('[environments.prd]\nurl="service=a"\nenv_file=".env"', "has env_file without url_env", "variable"),
        ('[environments.prd]\nurl="postgres://h:x/db?sslmod"', "environments.prd: url is not a", "postgresql:"),
        ('[checks]\ncommand="npm \'test"', "checks: command cannot be split into words", "quote"),
        ("[environments.prd\n", "not TOML: ", "line"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_remedy(tmp_path: Path, text: str, message: str, remedy: str) -> None:
    error = mistake(tmp_path, text)
    assert message in str(error)
    assert remedy in error.remedy


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://app:{SECRET}@db.example/shop",
        f"host=db.example password={SECRET}",
        f"postgresql://db.example/shop?sslpassword={SECRET}",
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    error = mistake(tmp_path, f'[environments.prd]\nurl = "{url}"')
    assert "environments.prd: url holds a password" in str(error)
    assert "url_env" in error.remedy
    assert SECRET not in str(error) + error.remedy + repr(error)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[environments.prd]\nurl_env = "{}"', "environments.prd: url_env"),
        ('[environments.prd]\nurl_env = "X"\nmigrate_url_env = "{}"', "environments.prd: migrate_url_env"),
        ('[environments.prd]\nurl_env = "X"\nstandby_url_envs = ["{}"]', "environments.prd: standby_url_envs"),
        ('[ledger]\nurl_env = "{}"', "ledger: url_env"),
    ],
)
@pytest.mark.parametrize("address", [f"postgresql://app:{SECRET}@db.example/shop", f"password={SECRET}"])
def test_an_address_in_place_of_a_variables_name_is_refused_and_not_repeated(
    tmp_path: Path, text: str, key: str, address: str
) -> None:
    error = mistake(tmp_path, text.format(address))
    assert f"{key} is no variable's name" in str(error)
    assert "write that variable's name" in error.remedy
    assert SECRET not in str(error) + error.remedy + repr(error)


@pytest.mark.parametrize("url", ["service=production", "postgresql://app@db.example/shop?sslmode=verify-full"])
def test_a_url_without_password_may_stand_in_the_file(tmp_path: Path, url: str) -> None:
    config = load_config(written(tmp_path, f'[environments.prd]\nurl = "{url}"'))
    assert config.conninfo("prd").text == url


def test_a_file_that_is_not_utf8_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[checks]\ncommand = "\xe9"')
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_config(tmp_path / "latin.toml")
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml")


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "pgrehearse.toml").write_bytes(b"\xef\xbb\xbf[clone]\nkeep = true\n")
    assert load_config(tmp_path / "pgrehearse.toml").clone.keep


# --- finding it ----------------------------------------------------------------------------------


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    outer = written(tmp_path, "")
    assert find_config(tmp_path / "a" / "b") == outer
    inner = written(tmp_path / "a", "")
    assert find_config(tmp_path / "a" / "b") == inner


@pytest.mark.parametrize("git", ["directory", "file"])
def test_the_search_ends_at_the_top_of_the_repository(tmp_path: Path, git: str) -> None:
    """A worktree's .git is a file."""
    written(tmp_path, "")
    repository = tmp_path / "repository"
    (repository / "src").mkdir(parents=True)
    if git == "directory":
        (repository / ".git").mkdir()
    else:
        (repository / ".git").write_text("gitdir: elsewhere")
    assert find_config(repository / "src") is None
    own = written(repository, "")
    assert find_config(repository / "src") == own


# --- an environment's address -----------------------------------------------------------------------


ENVIRONMENT = '[environments.prd]\nurl_env = "DATABASE_URL"\nprotected = true\n'
FROM_FILE = ENVIRONMENT + 'env_file = ".env.production"\n'


def config_of(directory: Path, text: str, **env_files: str) -> Config:
    return load_config(written(directory, text, **env_files))


def test_the_variable_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:{SECRET}@db.example/shop")
    conninfo = config_of(tmp_path, ENVIRONMENT).conninfo("prd")
    assert conninfo.address == "db.example/shop"
    assert conninfo.secrets == (SECRET,)


def test_the_variable_is_read_from_the_chosen_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://dev.example/dev")
    monkeypatch.setenv("DB_HOST", "db.example")
    content = (
        "# production\n\nexport DB_PASSWORD='p#w d'\nEMPTY\n"
        'DATABASE_URL="postgresql://app:x%23@${DB_HOST}:5433/shop?sslmode=require" # direct\n'
    )
    conninfo = config_of(tmp_path, FROM_FILE, production=content).conninfo("prd")
    assert conninfo.address == "db.example:5433/shop"
    assert conninfo.parameters["password"] == "x#"


def test_an_exported_variable_never_stands_in_for_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://dev.example/dev")
    with pytest.raises(ConfigurationError, match=r"environments\.prd\.env_file: \.env\.production cannot be read"):
        config_of(tmp_path, FROM_FILE).conninfo("prd")
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set in \.env\.production"):
        config_of(tmp_path, FROM_FILE, production="OTHER=1\n").conninfo("prd")


def test_a_missing_or_empty_variable_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path, ENVIRONMENT)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        config.conninfo("prd")
    assert str(caught.value) == "pgrehearse.toml: environments.prd.url_env: DATABASE_URL is not set in the environment"
    assert caught.value.remedy == "Set DATABASE_URL to the database's URL."
    monkeypatch.setenv("DATABASE_URL", "")
    with pytest.raises(ConfigurationError, match="is empty"):
        config.conninfo("prd")


def test_a_malformed_url_is_one_line_without_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:{SECRET}%zz@db.example/shop")
    with pytest.raises(MalformedConninfo) as caught:
        config_of(tmp_path, ENVIRONMENT).conninfo("prd")
    assert "environments.prd.url_env: DATABASE_URL in the environment is not a PostgreSQL URL" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- a word on the command line ---------------------------------------------------------------------------


def test_an_environments_name_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/shop")
    found = resolve_database("prd", config_of(tmp_path, ENVIRONMENT))
    assert (found.label, found.environment, found.protected) == ("prd", "prd", True)


def test_a_variable_and_a_url_work_without_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", f"postgresql://app:{SECRET}@db.example/shop")
    named = resolve_database("env:SHOP_URL", None)
    assert (named.label, named.environment, named.protected) == ("env:SHOP_URL", None, False)
    assert named.protected_as_source
    for text in (f"postgresql://app:{SECRET}@db.example/shop", f"host=db.example dbname=shop password={SECRET}"):
        plain = resolve_database(text, None)
        assert plain.label == "db.example/shop"
        assert plain.conninfo.parameters["password"] == SECRET
        assert SECRET not in repr(plain)


def test_a_plain_url_is_as_protected_as_the_environment_whose_address_it_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://owner@DB.example:5432/shop?sslmode=require")
    config = config_of(tmp_path, ENVIRONMENT + '[environments.uat]\nurl_env = "NOT_SET"\n')
    found = resolve_database("postgresql://other@db.example/shop", config)
    assert (found.environment, found.protected) == ("prd", True)
    other = resolve_database("postgresql://other@db.example/shop2", config)
    assert (other.environment, other.protected, other.protected_as_source) == (None, False, True)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    config = config_of(tmp_path, ENVIRONMENT + '[environments.uat]\nurl = "service=uat"\n')
    with pytest.raises(ConfigurationError) as caught:
        resolve_database("prod", config)
    assert str(caught.value) == "'prod' is no environment of pgrehearse.toml"
    assert caught.value.remedy.startswith("Known: prd, uat; ")
    with pytest.raises(ConfigurationError) as caught:
        resolve_database("prod", None)
    assert "pgrehearse init" in caught.value.remedy


@pytest.mark.parametrize("text", [f"postgresql//app:{SECRET}@db/shop", f"env:postgresql://app:{SECRET}@db/shop"])
def test_a_mistyped_url_is_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_database(text, None)
    assert SECRET not in str(caught.value)


def test_a_missing_variable_on_the_command_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_URL", raising=False)
    with pytest.raises(ConfigurationError, match="env:SHOP_URL: SHOP_URL is not set in the environment"):
        resolve_database("env:SHOP_URL", None)
