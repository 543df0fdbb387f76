"""`pgrehearse status` beside a promotion that was left in the middle, or that somebody is at, or that is over."""

import json
from pathlib import Path

import pytest
from tests.support.schemas import validate_answer
from tests.support.shop_project import Shop, make_shop

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    return make_shop(tmp_path, connection, database, uat)


def test_status_and_resume_say_the_same_of_a_promotion_that_was_left_in_the_middle(shop: Shop) -> None:
    (shop.folder / "db/0003_note.sql").write_text("ALTER TABLE sessions ADD COLUMN note text;\n")
    digest = shop.run()
    assert shop.pgrehearse("approve", digest).returncode == 0
    with connect(shop.production, verb="test") as reader, reader.transaction():
        reader.execute("LOCK TABLE users, sessions IN ACCESS SHARE MODE")
        assert shop.pgrehearse("promote", "--lock-timeout", "0.1").returncode == 1
    untouched = shop.pgrehearse("status", "prd")
    assert untouched.returncode == 0  # nothing is applied, so nothing is in the middle
    assert "was left at the step `apply` (applying); nothing of it is applied; to come: 0001_nick" in untouched.stdout
    assert "the gate is open" in untouched.stdout

    with connect(shop.production, verb="test") as reader, reader.transaction():
        reader.execute("LOCK TABLE sessions IN ACCESS SHARE MODE")
        assert shop.pgrehearse("resume", "--lock-timeout", "0.1").returncode == 1
    stopped = shop.pgrehearse("status", "prd", "--json")
    assert stopped.returncode == 1
    answer = json.loads(stopped.stdout)
    validate_answer("status", answer)
    promotion = answer["under_way"]["promotion"]
    assert (promotion["receipt"], promotion["step"]) == (digest, "apply")
    assert (promotion["applied"], promotion["left"]) == (["0001_nick", "0002_email"], ["0003_note"])
    assert (answer["well"], answer["gate"]["open"], answer["under_way"]["at_work"]) == (False, True, None)
    shown = shop.pgrehearse("status", "prd").stdout
    assert f"under way: promotion {promotion['id']}, begun at " in shown
    assert "-> `pgrehearse resume` goes on with what is left." in shown
    assert "All is well" not in shown

    with ReleaseLedger.open(shop.folder / ".pgrehearse/ledger.db") as releases:
        (begun,) = releases.entries(kind="promotion-begun")
        name = f"promote {begun.body['key']}"
        releases.try_lease(name, holder="ann on far, pid 7", token="t", ttl_s=600, doing="verifying")
        busy = json.loads(shop.pgrehearse("status", "prd", "--json", "--gate").stdout)
        validate_answer("status", busy)
        assert (busy["under_way"]["at_work"]["holder"], busy["well"]) == ("ann on far, pid 7", True)
        assert f"ann on far, pid 7 is at it since {begun.at:%Y}" in shop.pgrehearse("resume").stderr
        releases.release_lease(name, token="t")

        resumed = shop.pgrehearse("resume")
        assert resumed.returncode == 0, resumed.stderr
        assert f"going on with promotion {promotion['id']}" in resumed.stderr
        after = shop.pgrehearse("status", "prd", "--json", "--gate")
        (reason,) = json.loads(after.stdout)["gate"]["reasons"]
        assert (after.returncode, reason["kind"]) == (0, "promoted")
        again = shop.pgrehearse("promote", digest)
        assert again.returncode == 1
        assert f"promoted: this receipt was promoted already: promotion {promotion['id']} by " in again.stderr
        assert "what is pending is not what was rehearsed" not in again.stderr

        releases.try_lease(name, holder="ann on far, pid 7", token="t", ttl_s=600, doing="verifying")
        dry = shop.pgrehearse("rollback", "--dry-run", "--json")
        assert dry.returncode == 1
        plan = json.loads(dry.stdout)
        validate_answer("rollback", plan)
        assert (plan["type"], plan["ways"][0]["open"]) == ("lossless", True)
        assert plan["held_by"].startswith("ann on far, pid 7 is at it since ")
