"""An allow silences what lint predicts, and never what a rehearsal sees."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.schemas import validate_answer

from pgrehearse.errors import MalformedAllow
from pgrehearse.hazards.baseline import write_baseline
from pgrehearse.linting import LintOptions, lint
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions

PLAN = """\
ALTER TABLE users DROP COLUMN nick;
ALTER TABLE users ADD COLUMN city varchar(20);
CREATE INDEX users_city ON users (city);
"""
ALLOWED = """\
-- pgrehearse: allow drop-column because it is known
ALTER TABLE users DROP COLUMN nick;
ALTER TABLE users ADD COLUMN city varchar(20);
-- pgrehearse: allow create-index, create-index-after-alter because the table is small
CREATE INDEX users_city ON users (city);
"""


@pytest.mark.pg("== 18")
def test_what_is_lost_is_told_however_it_is_allowed(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE users (id int PRIMARY KEY, nick text)")
    connection.execute("INSERT INTO users SELECT g, 'n' || g FROM generate_series(1, 200) g")
    folder = tmp_path / "db"
    folder.mkdir()
    options = RehearsalOptions(source=database.text, target=uat.conninfo().text, folder=folder, way_back=False)

    (folder / "0001_step.sql").write_text("-- pgrehearse: allow drop-column\n" + PLAN)
    with pytest.raises(MalformedAllow):
        Project.open(None, start=tmp_path).rehearse(options)

    (folder / "0001_step.sql").write_text(ALLOWED)
    receipt = Project.open(None, start=tmp_path).rehearse(options)
    validate_answer("run", receipt.run_document)
    told = [(each["hazard"], each["evidence"]) for each in receipt.document["findings"]]
    assert ("drop-column", "observed") in told
    assert {hazard for hazard, _ in told} & {"create-index", "create-index-after-alter"} == set()
    assert {hazard for hazard, _ in told} & {"prefer-text", "select-star-prepared-plan"} == set()  # policy: lint's
    assert "predicted" not in [evidence for hazard, evidence in told if hazard == "drop-column"]
    assert receipt.document["verdict"] == "loss"


WRAPPED = """\
CREATE TABLE cities (id int PRIMARY KEY, name text);
"""
SECOND = """\
CREATE INDEX cities_name ON cities (name);
CREATE INDEX users_nick ON users (nick);
VACUUM users;
ALTER TABLE users ALTER COLUMN nick SET NOT NULL;
ALTER TABLE users ALTER COLUMN id TYPE bigint;
"""
CONFIGURED = """\
[migrations]
path = "db"
[lint]
ignore = ["create-index"]
levels = {set-not-null = "error"}
baseline = "accepted.json"
"""


@pytest.mark.pg("== 18")
def test_a_rehearsal_predicts_what_lint_says_of_the_same_plan(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("CREATE TABLE users (id int PRIMARY KEY, nick text)")
    connection.execute("INSERT INTO users SELECT g, 'n' || g FROM generate_series(1, 200) g")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "0001_made.sql").write_text(WRAPPED)
    (tmp_path / "db" / "0002_used.sql").write_text(SECOND)
    (tmp_path / "pgrehearse.toml").write_text(CONFIGURED)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "accepted.json").write_text('{"format": 1, "findings": []}')
    alone, _ = lint(None, LintOptions(paths=(Path("db/0001_made.sql"), Path("db/0002_used.sql")), transaction="file"))
    assert "concurrently-in-transaction" in {each.hazard for each in alone.result.findings}  # VACUUM in a transaction
    write_baseline(
        tmp_path / "accepted.json",
        replace(
            alone.result,
            findings=tuple(each for each in alone.result.findings if each.hazard == "change-column-type"),
        ),
    )

    options = RehearsalOptions(source=database.text, target=uat.conninfo().text, way_back=False, transaction="file")
    receipt = Project.open(None).rehearse(options)
    told = {(each["hazard"], each["level"]) for each in receipt.document["findings"]}
    hazards = {hazard for hazard, _ in told}
    assert "concurrently-in-transaction" in hazards  # as it was asked for: each file in a transaction
    assert ("set-not-null", "error") in told  # by the configuration, and the plan never came to it
    assert "create-index" not in hazards
    assert "change-column-type" not in hazards  # in the baseline, and the failed plan never came to it
    assert not [each for each in receipt.document["findings"] if "cities" in (each["relation"] or "")]  # one plan
