"""What lint says of a plan by the catalog that the plan will meet."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.rehearsing import rehearsing_on

from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.model import Model
from pgrehearse.hazards.suppress import Accepted
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.document import Seen
from pgrehearse.rehearsal.prediction import predict_plan

TABLE = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT n, repeat('v', 100) FROM generate_series(1, 2000) n;
DELETE FROM t WHERE id > 1000;
"""
PLAN = """
DROP TABLE IF EXISTS never_there;
ALTER TABLE t ALTER id TYPE bigint;
ALTER TABLE t ADD COLUMN n int NOT NULL;
"""


@pytest.mark.pg("== 18")
def test_a_catalog_settles_what_the_text_leaves_open(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(TABLE.encode())
    (size,) = connection.execute("SELECT pg_total_relation_size('t')").fetchall()[0]
    document = rehearsing_on(database, tmp_path)(PLAN, target=uat.conninfo(), transaction="statement")
    told = {each["hazard"]: each for each in document["findings"]}
    assert "drop-table" not in told
    assert not [each for each in told.values() if "lint with --against" in each["message"]]
    rewritten = told["change-column-type"]
    assert (rewritten["evidence"], rewritten["measured"]["size_bytes"]) == (
        "confirmed",
        size,
    )  # production's, with bloat
    refused = told["add-not-null-no-default"]
    assert (refused["evidence"], refused["measured"]["sqlstate"]) == ("confirmed", "23502")


def test_a_catalog_that_sees_a_failure_where_there_was_none_is_not_believed() -> None:
    migration = Migration(
        version="1", name="1", path="1.sql", kind=SourceKind.SQL_FOLDER, content=b"ALTER TABLE t DROP COLUMN a;"
    )

    def told(failure: MigrationFailed | None, model: Model | None) -> set[str]:
        request: Any = SimpleNamespace(
            plan=SimpleNamespace(migrations=(migration,)), mode=TransactionMode.FILE, accepted=Accepted()
        )
        seen = SimpleNamespace(request=request, model=model, failure=failure)
        return {finding.hazard for finding in predict_plan(cast("Seen", seen), [migration])}

    by_the_text = told(None, None)
    assert "drop-column" in by_the_text
    assert told(MigrationFailed("it has no such table"), Model(complete=True)) == {"missing-object"}
    assert told(None, Model(complete=True)) == by_the_text
