"""A receipt whose clone was taken of production's replica speaks of production."""

from pathlib import Path

import pytest

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Plan
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.project import Project, utc_now
from pgrehearse.release.lineage import database_key
from pgrehearse.releasing import Releasing

pytestmark = pytest.mark.pg("== 18")


def test_the_receipt_of_a_replica_is_found_for_its_primary(
    tmp_path: Path, connection: Connection, database: Conninfo
) -> None:
    identity, plan = read_identity(connection), Plan.of([])
    releasing = Releasing(project=Project.open(None, start=tmp_path))
    prd = releasing.project.database(database.text)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        for digest, oid, is_replica in (
            ("of-production", identity.database_oid, True),
            ("of-a-twin", identity.database_oid, False),
            ("of-another", identity.database_oid + 1, True),
        ):
            source = {
                "environment": "there", "address": "there/shop", "is_replica": is_replica,
                "system_identifier": str(identity.system_identifier), "database_oid": oid,
            }  # fmt: skip
            of_folder = {"source_kind": "sql-folder", "plan_digest": plan.digest}
            releases.append("receipt", digest, {"digest": digest, "source": source, "receipt": of_folder}, utc_now())
        found = releasing.newest_receipt(releases, prd, plan, key=database_key(connection))
    assert found is not None
    assert found.digest == "of-production"
