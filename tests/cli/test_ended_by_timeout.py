"""A timeout of the role's or the URL's that is too short for what pgrehearse asks: one error with a remedy."""

import json
from pathlib import Path

import pytest

from pgrehearse.cli.main import run_command
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo

WAITS = "SELECT pg_catalog.pg_advisory_lock(7)"


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("timeout", ["statement_timeout", "lock_timeout"])
def test_it_is_one_error_with_a_remedy(
    timeout: str, connection: Connection, database: Conninfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0001_step.sql").write_text("SELECT 1;")
    connection.execute(WAITS)
    url = database.replaced(options=f"-c{timeout}=50ms").as_url()
    # Which of our statements a short timeout meets depends on the machine: this one it always meets.
    monkeypatch.setattr("pgrehearse.project.read_status", lambda session, _: session.execute(WAITS))
    assert run_command(["status", url, ".", "--no-gate", "--json"]) == 3
    told = capsys.readouterr()
    answer = json.loads(told.out)["error"]
    assert answer["code"] == "ended-by-timeout"
    assert f"due to {timeout.replace('_', ' ')}" in answer["message"]
    assert "ALTER ROLE" in answer["remedy"]
    assert "Traceback" not in told.err
