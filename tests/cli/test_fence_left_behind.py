"""A fence that a killed promotion left: status and a dry run name it, and taking the promotion back lifts it."""

import json
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from tests.support.schemas import validate_answer
from tests.support.shop_project import Shop, make_shop

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, utc_now
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.release.take_back import TakenBack
from pgrehearse.releasing import Releasing
from pgrehearse.rolling_back import RollbackOptions, RollingBack

pytestmark = pytest.mark.pg("== 18")
WRITE = "INSERT INTO users (id, email) SELECT max(id) + 1, 'late' || max(id) FROM users"
NICK = "SELECT FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'nick'"


class KilledError(BaseException):
    """Stands for SIGKILL where nothing may run any more."""


@pytest.fixture
def shop(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    shop = make_shop(tmp_path, connection, database, uat)
    (tmp_path / "db/0002_email.sql").unlink()
    monkeypatch.setenv("PRD_URL", database.as_url())
    monkeypatch.setenv("UAT_URL", shop.uat.as_url())
    return shop


def promote_fenced_and_die(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Once the only file is committed, before anything else is recorded.  Gives a session that began in the fence."""

    def die(*_: object, **__: object) -> NoReturn:
        raise KilledError

    project = Project.open(None, start=shop.folder)
    Releasing(project=project).approve(None, accept=(), remark="yes")
    with monkeypatch.context() as patched:
        patched.setattr("pgrehearse.release.apply_watched.compare_statements", die)
        patched.setattr("pgrehearse.release.write_fence.lift", die)
        with pytest.raises(KilledError):
            Promoting(project=project).promote(PromoteOptions(fence=True), progress=Silent(), tell=lambda _: None)
    pool = application(shop)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        pool.execute(WRITE)
    return pool


def application(shop: Shop) -> Connection:
    session = connect(shop.production, verb="test")
    session.execute("SET application_name = 'shop'")
    return session


def require_open(shop: Shop, pool: Connection) -> None:
    """Whoever comes may write, what began read-only is ended, and nothing of the promotion is left."""
    with pytest.raises(psycopg.OperationalError):
        pool.execute(WRITE)
    with application(shop) as again:
        again.execute(WRITE)
        assert again.execute(NICK).fetchall() == []
    project = Project.open(None, start=shop.folder)
    assert Releasing(project=project).status(project.database("prd"), None, gate=None).under_way is None


def fence_again(shop: Shop, promotion: str) -> None:
    shop.execute(f"ALTER DATABASE {shop.production.database} SET default_transaction_read_only = on")
    with ReleaseLedger.open(shop.folder / ".pgrehearse/ledger.db") as releases:
        body = {"step": "fence", "state": "standing", "before": None}
        releases.append("promotion-step", promotion, body, utc_now())


def take_back(shop: Shop, only: str) -> TakenBack:
    return RollingBack(project=Project.open(None, start=shop.folder)).rollback(
        RollbackOptions(only=only), progress=Silent(), tell=lambda _: None, agree=lambda _: True
    )


def test_either_way_back_lifts_the_fence_that_a_killed_promotion_left(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    pool = promote_fenced_and_die(shop, monkeypatch)
    status = shop.pgrehearse("status", "prd", "--json")
    assert status.returncode == 1
    answer = json.loads(status.stdout)
    validate_answer("status", answer)
    assert any("still stands: production is read-only" in line for line in answer["under_way"]["told"])
    assert "lifts the fence" in answer["under_way"]["remedy"]
    dry = json.loads(shop.pgrehearse("rollback", "--dry-run", "--json").stdout)
    assert any("taking the promotion back lifts it" in line for line in dry["told"])
    back = shop.pgrehearse("rollback")
    assert back.returncode == 0, back.stderr
    assert "left is lifted" in back.stdout
    require_open(shop, pool)

    pool = promote_fenced_and_die(shop, monkeypatch)
    taken = take_back(shop, "restore")
    assert taken.told[-1].endswith("left is lifted")
    require_open(shop, pool)

    fence_again(shop, taken.promotion)  # as a kill just behind the way back would leave it
    project = Project.open(None, start=shop.folder)
    left = Releasing(project=project).status(project.database("prd"), None, gate=None)
    assert left.under_way is not None
    assert (left.exit_code(), left.under_way.standing) == (1, None)
    assert "rollback --undo` lifts the fence" in left.under_way.remedy
    pool = application(shop)
    undone = RollingBack(project=project).undo_restore("prd", drop=False)
    assert [line.rpartition(" ")[2] for line in undone] == ["lifted"]
    require_open(shop, pool)
