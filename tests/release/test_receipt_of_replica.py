"""A receipt whose clone was taken of a replica speaks of the primary that the replica was seen to follow."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Plan
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, read_identity
from pgrehearse.project import Project, utc_now
from pgrehearse.release.freshness import judge_identity, read_production
from pgrehearse.releasing import Releasing

pytestmark = pytest.mark.pg("== 18")
PLAN = Plan.of([])


def document(identity: DatabaseIdentity, digest: str, *, address: str, follows: tuple[str, ...]) -> Mapping[str, Any]:
    source = {
        "environment": "there", "address": address, "is_replica": True, "database": identity.database,
        "system_identifier": str(identity.system_identifier), "database_oid": identity.database_oid, "lsn": None,
        "server_version": f"{identity.major}.0",
    }  # fmt: skip
    of_folder = {"source_kind": "sql-folder", "plan_digest": PLAN.digest, "follows": list(follows)}
    return {"digest": digest, "source": source, "receipt": of_folder, "role": "ann"}


def test_only_the_receipt_of_a_replica_that_followed_this_database_is_picked(
    tmp_path: Path, connection: Connection, database: Conninfo
) -> None:
    identity = read_identity(connection)
    releasing = Releasing(project=Project.open(None, start=tmp_path))
    prd = releasing.project.database(database.text)
    here = identity.address

    def picked(*documents: Mapping[str, Any]) -> str | None:
        with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
            for each in documents:
                releases.append("receipt", each["digest"], each, utc_now())
            found = releasing.newest_receipt(releases, prd, PLAN, identity=identity)
        return None if found is None else found.digest

    of_twin = document(identity, "of-a-twin's", address="there/shop", follows=())
    of_another = document(replace(identity, database_oid=1), "of-another's", address="there/shop", follows=(here,))
    assert picked(of_twin, of_another) is None
    assert picked(document(identity, "of-its-own", address="there/shop", follows=(here,))) == "of-its-own"
    assert picked(document(identity, "of-itself", address=here, follows=())) == "of-itself"
    assert picked(document(identity, "of-its-own-later", address="there/shop", follows=(here,))) == "of-itself"


def test_the_gate_says_that_it_cannot_know_which_primary_a_replica_follows(connection: Connection) -> None:
    now = read_production(connection)
    here = now.identity.address
    for address, follows in (("there/shop", (here,)), (here, ())):
        known = document(now.identity, "d", address=address, follows=follows)
        assert judge_identity(known, now, role="ann") == []
    (reason,) = judge_identity(document(now.identity, "d", address="there/shop", follows=()), now, role="ann")
    assert f"the replica there/shop, and it is not known whether that follows {here}" in reason.message
