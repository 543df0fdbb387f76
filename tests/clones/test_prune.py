"""After SIGKILL: prune drops what is ours, and nothing else."""

import signal
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from tests.support.making_pairs import READY, start_making

from pgrehearse.clones.prune import drop_clone, prune_clones
from pgrehearse.clones.record import recorded_clones
from pgrehearse.errors import GuardRefused, NotOurs, ServerUnreachable, UnknownClone
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import MARKER, LocalServer

from .conftest import MakePair, contents_of


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def empty() -> Iterator[Path]:
    """Where prune looks for ownerless directories: not among those of other processes of this machine."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def killed(ledger: ReleaseLedger, source: Conninfo, target: Conninfo | None, step: str, *, keep: bool = False) -> None:
    """Make a pair and SIGKILL its maker when it says that it is at this step."""
    assert isinstance(ledger.path, Path)
    with start_making(ledger.path, source, target, keep=keep) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(step):
                process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read() if process.stderr else ""


STEPS = ["dumping", "restoring definitions", "restoring data", "analyzing", "copying the pristine", READY]


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("step", STEPS)
def test_a_maker_killed_at_any_step_leaves_what_prune_drops(
    clean_uat: LocalServer, shop: Conninfo, ledger: ReleaseLedger, empty: Path, step: str
) -> None:
    killed(ledger, shop, clean_uat.conninfo(), step)
    left = recorded_clones(ledger)
    assert [clone.state for clone in left] == ["left over"]
    assert left[0].directory.exists()
    without_password = prune_clones(ledger, now=now, temporary=empty)
    assert [name for name, error in without_password.failed if isinstance(error, ServerUnreachable)] == [left[0].id]
    done = prune_clones(ledger, now=now, targets=[clean_uat.conninfo("template1")], temporary=empty)
    assert (done.dropped, done.failed) == ((left[0].id,), ())
    assert recorded_clones(ledger) == ()
    assert not left[0].directory.exists()
    assert prune_clones(ledger, now=now, temporary=empty).dropped == ()


@pytest.fixture
def roles_on_uat(clean_uat: LocalServer) -> Iterator[None]:
    """Production's roles exist there with passwords that nobody knows here."""
    with connect(clean_uat.conninfo(), verb="test") as admin:
        for role in ("shop_owner LOGIN CREATEROLE", "shop_app LOGIN NOINHERIT", "shop_readers"):
            admin.execute(f"CREATE ROLE {role}".encode())
        yield
        for role in ("shop_app", "shop_owner", "shop_readers"):
            admin.execute(f"DROP ROLE {role}".encode())


@pytest.mark.pg(">= 15")
@pytest.mark.usefixtures("roles_on_uat")
@pytest.mark.parametrize(("step", "keep"), [("dumping", False), (READY, False), (READY, True)])
def test_a_killed_makers_login_role_is_recorded_bounded_and_dropped_by_prune(
    clean_uat: LocalServer, shop: Conninfo, ledger: ReleaseLedger, empty: Path, step: str, keep: bool
) -> None:
    killed(ledger, shop, clean_uat.conninfo(), step, keep=keep)
    (left,) = recorded_clones(ledger)
    login = f"pgrehearse_{left.id}_login"
    assert left.roles == (login,)
    with connect(clean_uat.conninfo(), verb="test") as admin:
        assert admin.execute(
            "SELECT rolsuper OR rolinherit OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, "
            "rolvaliduntil < now() + interval '4 days', shobj_description(oid, 'pg_authid') FROM pg_roles "
            "WHERE rolname = %s",
            (login,),
        ).fetchone() == (False, True, f"made by pgrehearse, clone {left.id}")
        assert admin.execute(
            "SELECT array_agg(roleid::regrole::text) FROM pg_auth_members WHERE member = %s::regrole", (login,)
        ).fetchone() == (["shop_owner"],)
    done = prune_clones(ledger, now=now, targets=[clean_uat.conninfo()], temporary=empty)
    assert (done.dropped, done.failed) == ((left.id,), ())


@pytest.mark.pg("== 18")
@pytest.mark.usefixtures("roles_on_uat")
def test_a_kept_clone_keeps_no_login(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    """What a plan makes where everybody may create things belongs to the login: then it only cannot log in."""
    with pair_of(shop, clean_uat.conninfo(), keep=True) as pair:
        assert f"pgrehearse_{pair.id}_login" in contents_of(clean_uat)[1]
    assert f"pgrehearse_{pair.id}_login" not in contents_of(clean_uat)[1]
    drop_clone(ledger, pair.id, now=now, targets=[clean_uat.conninfo()])
    with pair_of(shop, clean_uat.conninfo(), keep=True) as pair:
        with pair.session("clone", "test") as admin:
            admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        with pair.session_as_role("test") as session:
            session.execute("SET ROLE NONE; CREATE TABLE public.made (id int)")
    with connect(clean_uat.conninfo(), verb="test") as admin:
        assert admin.execute(
            "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (f"pgrehearse_{pair.id}_login",)
        ).fetchone() == (False,)
    drop_clone(ledger, pair.id, now=now, targets=[clean_uat.conninfo()])


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(("step", "keep"), [("dumping", False), (READY, False), (READY, True)])
def test_a_private_server_of_a_killed_maker_is_gone_after_prune(
    shop: Conninfo, ledger: ReleaseLedger, empty: Path, step: str, keep: bool
) -> None:
    """Without --keep the server dies with its maker; a server that was to outlive it is ended by prune."""
    killed(ledger, shop, None, step, keep=keep)
    (left,) = recorded_clones(ledger)
    assert (left.directory / MARKER).exists()
    assert prune_clones(ledger, now=now, temporary=empty).dropped == (left.id,)
    assert not left.directory.exists()
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(left.directory) in str(process.info["cmdline"])
    ]


@pytest.mark.pg("== 18")
def test_prune_leaves_kept_and_used_clones_and_those_of_other_machines(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger, empty: Path
) -> None:
    with pair_of(shop, clean_uat.conninfo(), create_roles=True, keep=True) as kept:
        pass
    with pair_of(shop, clean_uat.conninfo(), create_roles=True) as used:
        assert {clone.id: clone.state for clone in recorded_clones(ledger)} == {kept.id: "kept", used.id: "in use"}
        assert prune_clones(ledger, now=now, targets=[clean_uat.conninfo()], temporary=empty).dropped == ()
        with pytest.raises(GuardRefused, match="in use by process"):
            drop_clone(ledger, used.id, now=now, targets=[clean_uat.conninfo()])
    with connect(kept.clone, verb="test") as session:
        assert session.execute("SELECT count(*) FROM shop.orders").fetchone() == (3000,)
    with pytest.raises(ServerUnreachable, match="no password"):
        drop_clone(ledger, kept.id, now=now)
    drop_clone(ledger, kept.id, now=now, targets=[clean_uat.conninfo()])
    with pytest.raises(UnknownClone):
        drop_clone(ledger, kept.id, now=now)


@pytest.mark.pg("== 18")
def test_a_kept_private_server_lives_until_it_is_dropped(
    shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger, empty: Path
) -> None:
    with pair_of(shop, None, keep=True) as pair:
        pass
    (kept,) = recorded_clones(ledger)
    assert kept.address is not None
    assert "password" not in kept.address.parameters
    with connect(Conninfo.parse(kept.address.printable_url), verb="test") as session:
        assert session.execute("SELECT count(*) FROM shop.orders").fetchone() == (3000,)
    assert prune_clones(ledger, now=now, temporary=empty).dropped == ()
    drop_clone(ledger, pair.id, now=now)
    assert not kept.directory.exists()
    assert kept.server_owner is not None
    assert not kept.server_owner.is_alive()


@pytest.mark.pg("== 18")
def test_what_carries_our_name_but_not_our_comment_is_not_dropped(
    uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    before = contents_of(uat)
    with pair_of(shop, uat.conninfo(), create_roles=True, keep=True) as kept:
        pass
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute(f"COMMENT ON DATABASE {kept.clone.database} IS 'mine now'".encode())
        with pytest.raises(NotOurs, match="mine now"):
            drop_clone(ledger, kept.id, now=now, targets=[uat.conninfo()])
        assert kept.clone.database in contents_of(uat)[0]
        admin.execute(f"COMMENT ON DATABASE {kept.clone.database} IS 'made by pgrehearse, clone {kept.id}'".encode())
    drop_clone(ledger, kept.id, now=now, targets=[uat.conninfo()])
    assert contents_of(uat) == before


@pytest.mark.pg("== 18")
def test_a_role_that_is_used_by_now_stays(uat: LocalServer, shop: Conninfo, pair_of: MakePair) -> None:
    with connect(uat.conninfo(), verb="test") as admin:
        with pair_of(shop, uat.conninfo(), create_roles=True):
            admin.execute("CREATE TABLE needs_it (i int)")
            admin.execute("ALTER TABLE needs_it OWNER TO shop_app")
        assert [name for name in contents_of(uat)[1] if name.startswith("shop")] == ["shop_app"]
        admin.execute("DROP TABLE needs_it")
        admin.execute("DROP ROLE shop_app")


def test_directories_of_dead_servers_are_wiped_and_others_are_not(tmp_path: Path, empty: Path) -> None:
    owners = {
        "dead": '{"host": "%s", "boot_id": "another boot", "pid": 1, "started": 1}',
        "elsewhere": '{"host": "another machine", "boot_id": "x", "pid": 1, "started": 1}',
        "garbage": "12345",
    }
    for name, text in owners.items():
        (empty / f"pgrehearse-{name}").mkdir()
        (empty / f"pgrehearse-{name}" / MARKER).write_text(text.replace("%s", socket.gethostname()))
    (empty / "somebody-elses").mkdir()
    (empty / "somebody-elses" / MARKER).write_text(owners["dead"].replace("%s", socket.gethostname()))
    with ReleaseLedger.open(tmp_path / "ledger.db") as ledger:
        assert prune_clones(ledger, now=now, temporary=empty).directories == (empty / "pgrehearse-dead",)
    assert sorted(path.name for path in empty.iterdir()) == [
        "pgrehearse-elsewhere", "pgrehearse-garbage", "somebody-elses",
    ]  # fmt: skip
