"""A promotion that stopped begins nothing new without the gate; what is half-way alone is finished, loudly."""

import re
from pathlib import Path

import pytest
from tests.support.shop_project import CONFIGURATION, Shop, make_shop

from pgrehearse.errors import GateClosed, PgRehearseError
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.promoting import PromoteOptions, Promoting
from pgrehearse.release.promotion import Promotion
from pgrehearse.releasing import ReleaseStatus, Releasing

pytestmark = pytest.mark.pg("== 18")
FILES = {
    "0001_a": "ALTER TABLE users ADD COLUMN x int;",
    "0002_b": "ALTER TABLE sessions ADD COLUMN x int; UPDATE sessions SET user_id = user_id + 1;",
    "0003_c": "CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);\nALTER TABLE prices ADD COLUMN x int;",
}
ACCEPTED = "update-all:public.sessions=agreed"


@pytest.fixture
def shop(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    shop = make_shop(tmp_path, connection, database, uat)
    shop.execute("CREATE TABLE prices (id int PRIMARY KEY, v int)")
    for path in (tmp_path / "db").iterdir():
        path.unlink()
    for version, text in FILES.items():
        (tmp_path / f"db/{version}.sql").write_text(text)
    monkeypatch.setenv("PRD_URL", database.as_url())
    monkeypatch.setenv("UAT_URL", shop.uat.as_url())
    return shop


def releasing(shop: Shop) -> Releasing:
    return Releasing(project=Project.open(None, start=shop.folder))


def go_on(shop: Shop, *, first: bool = False) -> Promotion:
    promoting = Promoting(project=Project.open(None, start=shop.folder))
    run = promoting.promote if first else promoting.resume
    return run(PromoteOptions(lock_timeout_s=0.1), progress=Silent(), tell=lambda _: None)


def status(shop: Shop) -> ReleaseStatus:
    found = releasing(shop)
    return found.status(found.project.database("prd"), None, gate=None)


def require_refused(shop: Shop, *kinds: str) -> None:
    """By `resume`, which begins nothing, and by `status` before it."""
    examined = status(shop).examined
    assert examined is not None
    assert [reason.kind.value for reason in examined.gate.reasons] == list(kinds)
    with pytest.raises(GateClosed, match="what is applied stays, and nothing more is begun") as refused:
        go_on(shop)
    assert re.findall(r"^  ([a-z]+): ", str(refused.value), re.MULTILINE) == list(kinds)
    assert applied(shop) == ["0001_a"]


def applied(shop: Shop) -> list[str]:
    with connect(shop.production, verb="test") as session:
        return [row[0] for row in session.execute("SELECT version FROM pgrehearse.migrations ORDER BY 1")]


def test_what_is_left_of_a_promotion_needs_the_gate_and_what_is_half_way_is_finished_loudly(shop: Shop) -> None:
    Project.open(None, start=shop.folder).rehearse(RehearsalOptions(target="uat"))
    releasing(shop).approve(None, accept=[ACCEPTED], remark="")
    with connect(shop.production, verb="test") as reader, reader.transaction():
        reader.execute("LOCK TABLE sessions IN ACCESS SHARE MODE")
        with pytest.raises(PgRehearseError, match="lock timeout"):
            go_on(shop, first=True)
    assert applied(shop) == ["0001_a"]

    releasing(shop).withdraw(None, remark="a mistake")
    require_refused(shop, "verdict", "approval")
    releasing(shop).approve(None, accept=[ACCEPTED], remark="")
    (shop.folder / "pgrehearse.toml").write_text(CONFIGURATION + "[promotion]\nmax_age_hours = 0.00001\n")
    require_refused(shop, "age")
    (shop.folder / "pgrehearse.toml").write_text(CONFIGURATION)
    shop.execute("INSERT INTO users VALUES (7777, 'u7')")
    require_refused(shop, "precondition")
    shop.execute("DELETE FROM users WHERE id = 7777")

    with connect(shop.production, verb="test") as other, other.transaction():
        other.execute("LOCK TABLE prices IN ACCESS SHARE MODE")
        with pytest.raises(PgRehearseError, match="lock timeout"):
            go_on(shop)
    assert applied(shop) == ["0001_a", "0002_b"]
    found = status(shop)
    assert found.under_way is not None
    assert found.under_way.standing is not None
    assert found.under_way.standing.half == ("0003_c",)
    releasing(shop).withdraw(None, remark="again")
    promotion = go_on(shop)
    assert promotion.applied == ("0003_c",)
    told = [line for line in promotion.told if line.startswith("IN SPITE OF THE GATE, for 0003_c is half-way: ")]
    assert [line.split(": ")[1] for line in told] == ["verdict", "approval"]
