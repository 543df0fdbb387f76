"""A receipt whose clone was taken of a replica speaks of the primary that the replica was seen to follow."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.promoting import rehearse_folder

from pgrehearse.errors import GateClosed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Plan
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, read_identity
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, utc_now
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.rehearsal.receipt import Receipt, save_receipt
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


def test_what_is_picked_without_a_digest_is_promoted_to_the_primary(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    rehearsed = rehearse_folder(tmp_path, database, uat, "ALTER TABLE t ADD COLUMN note text;")[0].document
    source = {**rehearsed["source"], "environment": None, "address": "there/shop", "is_replica": True}
    source |= {"database_oid": read_identity(connection).database_oid, "database": read_identity(connection).database}
    of_replica = {**rehearsed["receipt"], "follows": [read_identity(connection).address]}
    (tmp_path / "pgrehearse.toml").write_text(
        '[environments.prd]\nurl_env = "PRD_URL"\nprotected = true\n[migrations]\npath = "db"\n'
    )
    monkeypatch.setenv("PRD_URL", database.text)
    project = Project.open(None, start=tmp_path)
    with project.releases() as releases:
        save_receipt(releases, Receipt.seal({**rehearsed, "source": source, "receipt": of_replica}), utc_now())
    with pytest.raises(GateClosed) as refused:
        Promoting(project=project).promote(PromoteOptions(), progress=Silent(), tell=lambda _: None)
    assert "approved by 0 of 1" in str(refused.value)
    assert "replica" not in str(refused.value)


def test_the_gate_says_that_it_cannot_know_which_primary_a_replica_follows(connection: Connection) -> None:
    now = read_production(connection)
    here = now.identity.address
    for address, follows in (("there/shop", (here,)), (here, ())):
        known = document(now.identity, "d", address=address, follows=follows)
        assert judge_identity(known, now, role="ann") == []
    (reason,) = judge_identity(document(now.identity, "d", address="there/shop", follows=()), now, role="ann")
    assert f"the replica there/shop, and it is not known whether that follows {here}" in reason.message
