"""An allow silences what lint predicts, and never what a rehearsal sees."""

from pathlib import Path

import pytest
from tests.support.schemas import validate_answer

from pgrehearse.errors import MalformedAllow
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
    connection.execute("INSERT INTO users SELECT g, 'n' || g FROM generate_series(1, 20) g")
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
