"""`pgrehearse promote` as a user meets it: ten ways to promote something else, each refused for its own reason."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.dumps import dump_text
from tests.support.poolers import PGBOUNCER, pgbouncer
from tests.support.schemas import validate_answer
from tests.support.shop_project import FIRST, SECOND, SHOP, Shop, make_shop

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    return make_shop(tmp_path, connection, database, uat)


@pytest.fixture(scope="module")
def rehearsed(
    server: LocalServer, uat: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shop, str]]:
    """A shop, rehearsed and approved, and its receipt's digest; for tests that leave its production as it is."""
    production = server.conninfo(f"refusals_{os.getpid()}")
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {production.database}")
        with connect(production, verb="test") as session:
            shop = make_shop(tmp_path_factory.mktemp("shop"), session, production, uat)
        digest = shop.run()
        assert shop.pgrehearse("approve", digest).returncode == 0
        yield shop, digest
        admin.execute(f"DROP DATABASE {production.database} WITH (FORCE)")


@pytest.fixture
def approved(rehearsed: tuple[Shop, str], tmp_path: Path) -> tuple[Shop, str]:
    """The same with a folder, and a release ledger, of its own."""
    shop, digest = rehearsed
    shutil.copytree(shop.folder, tmp_path / "copy")
    return replace(shop, folder=tmp_path / "copy"), digest


Tamper = Callable[[Shop, str], tuple[str, ...]]


def edit_a_byte(shop: Shop, _digest: str) -> tuple[str, ...]:
    (shop.folder / "db/0001_nick.sql").write_text(FIRST.replace("text;", "text ;"))
    return ()


def reorder(shop: Shop, _digest: str) -> tuple[str, ...]:
    (shop.folder / "db/0001_nick.sql").rename(shop.folder / "db/0003_nick.sql")
    return ()


def add_a_file(shop: Shop, _digest: str) -> tuple[str, ...]:
    (shop.folder / "db/0003_more.sql").write_text("DROP TABLE sessions;")
    return ()


def drift(shop: Shop, _digest: str) -> tuple[str, ...]:
    shop.execute("ALTER TABLE users ALTER email SET DEFAULT 'x'")
    return ()


def another_database(shop: Shop, digest: str) -> tuple[str, ...]:
    name = f"{shop.production.database}_twin"
    shop.execute(f"CREATE DATABASE {name}")
    with connect(shop.production.replaced(dbname=name), verb="test") as session:
        session.execute(SHOP.encode())
    return (digest[:12], "--to", shop.production.replaced(dbname=name).as_url())


def an_older_receipt(shop: Shop, digest: str) -> tuple[str, ...]:
    (shop.folder / "db/0002_email.sql").write_text(SECOND.replace("users_email", "users_email_key"))
    newer = shop.run()
    assert shop.pgrehearse("approve", newer).returncode == 0
    return (digest[:12],)


def approval_of_another(shop: Shop, digest: str) -> tuple[str, ...]:
    assert shop.pgrehearse("approve", digest, "--withdraw").returncode == 0
    other = shop.run()
    assert other != digest
    assert shop.pgrehearse("approve", other).returncode == 0
    return (digest[:12],)


def tamper_with_the_receipt(shop: Shop, digest: str) -> tuple[str, ...]:
    ledger = sqlite3.connect(shop.folder / ".pgrehearse/ledger.db")
    with ledger:
        for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ledger.execute(f"DROP TRIGGER {name}")
        (body,) = ledger.execute(
            "SELECT body FROM entries WHERE kind = 'receipt' AND subject = ?", (digest,)
        ).fetchone()
        changed = re.sub(r'"sha256":"([0-9a-f])', lambda digit: f'"sha256":"{"0" if digit[1] != "0" else "1"}', body)
        ledger.execute("UPDATE entries SET body = ? WHERE kind = 'receipt' AND subject = ?", (changed, digest))
    ledger.close()
    return (digest[:12],)


def behind_the_triggers(shop: Shop, statement: str) -> None:
    """As somebody does who may write the ledger's file."""
    ledger = sqlite3.connect(shop.folder / ".pgrehearse/ledger.db")
    with ledger:
        for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ledger.execute(f"DROP TRIGGER {name}")
        assert ledger.execute(statement).rowcount == 1
    ledger.close()


def approval_by_hand(shop: Shop, digest: str) -> tuple[str, ...]:
    assert shop.pgrehearse("approve", digest, "--withdraw").returncode == 0
    behind_the_triggers(
        shop,
        "INSERT INTO entries (at, kind, subject, body, digest) "
        "SELECT at, kind, subject, body, iif(digest LIKE 'f%', 'e', 'f') || substr(digest, 2) "
        "FROM entries WHERE kind = 'approval'",
    )
    return (digest[:12],)


def withdrawal_taken_out(shop: Shop, digest: str) -> tuple[str, ...]:
    assert shop.pgrehearse("approve", digest, "--withdraw").returncode == 0
    behind_the_triggers(shop, "DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)")
    status = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)
    assert [reason["kind"] for reason in status["gate"]["reasons"]] == ["receipt"]
    return (digest[:12],)


def expire(shop: Shop, _digest: str) -> tuple[str, ...]:
    with (shop.folder / "pgrehearse.toml").open("a") as file:
        file.write("[promotion]\nmax_age_hours = 0.0001\n")
    return ()


def grow(shop: Shop, _digest: str) -> tuple[str, ...]:
    shop.execute("INSERT INTO users SELECT n, 'u' || n FROM generate_series(1000, 90000) n")
    shop.execute("ANALYZE users")
    return ()


def duplicate(shop: Shop, _digest: str) -> tuple[str, ...]:
    shop.execute("INSERT INTO users VALUES (7777, 'u7')")
    return ()


def nobody_can_take_it_back(shop: Shop, _digest: str) -> tuple[str, ...]:
    text = (shop.folder / "pgrehearse.toml").read_text()
    (shop.folder / "pgrehearse.toml").write_text(text.replace("[backup]", '[backup]\npolicy = "external"'))
    return ()


def a_check_of_the_team(shop: Shop, _digest: str) -> tuple[str, ...]:
    (shop.folder / "checks").mkdir()
    (shop.folder / "checks/quiet.sql").write_text("-- pgrehearse: before\nSELECT 1 FROM users WHERE id = 1;")
    return ()


# Each with the reason that it is refused for, and what sets production back afterwards.
WITH_ONE_RECEIPT: dict[str, tuple[Tamper, str, str]] = {
    "a byte edited": (edit_a_byte, r"plan: .*\n.*0001_nick was rehearsed as .* and its file is", ""),
    "reordered": (reorder, r"plan: .*not what was rehearsed", ""),
    "an extra pending file": (add_a_file, r"plan: .*\n.*0003_more is pending, and was not rehearsed", ""),
    "a column default drifted": (
        drift,
        r"state: .*\n.*email: default was `''::text`, is `'x'::text`",
        "ALTER TABLE users ALTER email SET DEFAULT ''",
    ),
    "another database": (another_database, r"identity: .*\n.*(oid|database)", ""),
    "expired": (expire, r"age: the clone was taken", ""),
    "a late duplicate": (duplicate, r"precondition: .*users.*\n(.*\n)*.*id=7", "DELETE FROM users WHERE id = 7777"),
    "nothing to take it back with": (nobody_can_take_it_back, r"recoverability: .*no command is configured", ""),
    "a check of the team": (a_check_of_the_team, r"check: quiet\.sql does not hold", ""),
    "grown": (grow, r"changed: .*\n.*users: \+8.,... rows", ""),
}
WITH_ITS_OWN: dict[str, tuple[Tamper, str]] = {
    "an older receipt": (an_older_receipt, r"plan: .*\n.*0002_email was rehearsed as"),
    "an approval of another digest": (approval_of_another, r"approval: approved by 0 of 1"),
    "an approval written by hand": (approval_by_hand, r"entry \d+ \(approval\) is not what was recorded"),
    "a withdrawal taken out": (withdrawal_taken_out, r"what was recorded after entry \d+ is gone"),
    "a tampered receipt": (tamper_with_the_receipt, r"the receipt calls itself .* its content is"),
}


def assert_refused(shop: Shop, arguments: tuple[str, ...], reason: str, *, alone: bool) -> None:
    databases = [shop.production, *(Conninfo.parse(arguments[-1]) for word in arguments if word == "--to")]
    before = [dump_text(database) for database in databases]
    done = shop.pgrehearse("promote", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(reason, done.stderr), done.stderr
    assert [dump_text(database) for database in databases] == before
    for kind in re.findall(r"^  ([a-z]+): ", done.stderr, re.MULTILINE):  # its own reason, and no other
        assert kind in reason or not alone, done.stderr


def test_nothing_but_what_was_rehearsed_is_promoted(shop: Shop) -> None:
    digest = shop.run()
    assert shop.pgrehearse("approve", digest).returncode == 0
    shutil.copytree(shop.folder / "db", shop.folder / "kept")
    configuration = (shop.folder / "pgrehearse.toml").read_text()
    for way, (tamper, reason, undo) in WITH_ONE_RECEIPT.items():
        arguments = tamper(shop, digest)
        assert_refused(shop, arguments or (digest[:12],), reason, alone=way not in ("another database", "grown"))
        shutil.rmtree(shop.folder / "db")
        shutil.copytree(shop.folder / "kept", shop.folder / "db")
        shutil.rmtree(shop.folder / "checks", ignore_errors=True)
        (shop.folder / "pgrehearse.toml").write_text(configuration)
        if undo:
            shop.execute(undo)


@pytest.mark.parametrize("way", WITH_ITS_OWN)
def test_a_receipt_is_promoted_only_as_itself(approved: tuple[Shop, str], way: str) -> None:
    shop, digest = approved
    tamper, reason = WITH_ITS_OWN[way]
    assert_refused(shop, tamper(shop, digest), reason, alone=True)


@pytest.mark.pg(">= 15")
def test_the_whole_way(shop: Shop) -> None:
    digest = shop.run()
    closed = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)
    validate_answer("status", closed)
    assert [reason["kind"] for reason in closed["gate"]["reasons"]] == ["approval"]
    approved = shop.pgrehearse("approve", "--remark", "agreed", "--json")
    validate_answer("approve", json.loads(approved.stdout))
    opened = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)
    assert opened["gate"]["open"]
    shop.execute("INSERT INTO sessions VALUES (5000, 1)")  # life goes on
    done = shop.pgrehearse("promote", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    validate_answer("promote", answer)
    assert answer["receipt"] == digest
    assert answer["applied"] == ["0001_nick", "0002_email"]
    assert [proof["way"] for proof in answer["recoverability"]] == ["dump"]
    with connect(shop.production, verb="test") as session:
        assert fetch_value(session, "SELECT count(nick) FROM users") == 0
        assert fetch_value(session, "SELECT to_regclass('users_email') IS NOT NULL")
    again = shop.pgrehearse("promote")
    assert again.returncode == 1
    assert "promoted: this receipt was promoted already: promotion " in again.stderr
    assert shop.pgrehearse("resume").returncode == 1
    assert shop.pgrehearse("status", "prd").returncode == 0


def test_what_nobody_rehearsed_needs_a_reason_and_a_way_back(shop: Shop) -> None:
    assert shop.pgrehearse("migrate", "prd").returncode == 1
    assert shop.pgrehearse("promote", "--to", "prd", "--allow-unrehearsed", " ").returncode == 2
    done = shop.pgrehearse("promote", "--to", "prd", "--allow-unrehearsed", "the site is down", "--json")
    assert done.returncode == 0, done.stderr
    assert "NOBODY REHEARSED THIS" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["receipt"] is None
    assert [proof["way"] for proof in answer["recoverability"]] == ["dump"]
    ledger = sqlite3.connect(shop.folder / ".pgrehearse/ledger.db")
    (body,) = ledger.execute("SELECT body FROM entries WHERE kind = 'promotion-begun'").fetchone()
    assert json.loads(body)["unrehearsed"] == "the site is down"
    ledger.close()


def test_a_backup_with_one_flipped_block_is_not_built_upon(shop: Shop) -> None:
    digest = shop.run()
    assert shop.pgrehearse("approve", digest).returncode == 0
    with connect(shop.production, verb="test") as reader, reader.transaction():
        reader.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        held = shop.pgrehearse("promote", "--lock-timeout", "0.1")
    assert held.returncode == 1, held.stderr
    assert "lock timeout" in held.stderr
    data = max((shop.folder / ".pgrehearse/backups").glob("*/dump/*.dat.gz"), key=lambda file: file.stat().st_size)
    content = bytearray(data.read_bytes())
    block = slice(len(content) // 2, len(content) // 2 + 512)
    content[block] = bytes(byte ^ 255 for byte in content[block])
    data.write_bytes(content)
    before = dump_text(shop.production)
    done = shop.pgrehearse("promote")
    assert done.returncode == 1, done.stderr
    assert re.search(r"backup .* is damaged", done.stderr), done.stderr
    assert dump_text(shop.production) == before


def test_migrations_may_log_in_with_a_url_of_their_own(shop: Shop) -> None:
    assert shop.production.database is not None
    role = f"{shop.production.database}_owner"
    shop.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    shop.execute(f"ALTER TABLE users OWNER TO {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    shop.execute(f"GRANT CREATE ON DATABASE {shop.production.database} TO {role}")
    with connect(shop.uat, verb="test") as session:
        session.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    text = (shop.folder / "pgrehearse.toml").read_text()
    (shop.folder / "pgrehearse.toml").write_text(
        text.replace('url_env = "PRD_URL"', 'url_env = "PRD_URL"\nmigrate_url_env = "MIGRATE_URL"')
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MIGRATE_URL", shop.production.replaced(user=role, password="x").as_url())
        receipt = json.loads(shop.pgrehearse("run", "--target", "uat", "--json").stdout)
        assert receipt["role"] == role
        assert shop.pgrehearse("approve").returncode == 0
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setenv("MIGRATE_URL", shop.uat.as_url())
            refused = shop.pgrehearse("status", "prd", "--gate")
            assert refused.returncode == 2, refused.stdout
            assert "which is not the database of" in refused.stderr
        done = shop.pgrehearse("promote", "--to", "prd")
        assert done.returncode == 0, done.stderr
        assert re.search(r"^To take it back: pgrehearse rollback \S+ --to prd$", done.stdout, re.MULTILINE)
    with connect(shop.production, verb="test") as session:
        owner = "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE relname = 'users_email'"
        assert fetch_value(session, owner) == role


@pytest.mark.parametrize(
    "check",
    ["COMMIT; DELETE FROM users WHERE id = 1;", "SET TRANSACTION READ WRITE; DELETE FROM users WHERE id = 1; COMMIT;"],
)
def test_a_check_of_the_team_s_does_not_write(approved: tuple[Shop, str], check: str) -> None:
    shop, _ = approved
    (shop.folder / "checks").mkdir()
    (shop.folder / "checks/sly.sql").write_text(f"-- pgrehearse: before\n{check}")
    answer = json.loads(shop.pgrehearse("status", "prd", "--gate", "--json").stdout)
    (reason,) = [each for each in answer["gate"]["reasons"] if each["kind"] == "check"]
    assert "sly.sql" in reason["message"]
    with connect(shop.production, verb="test") as session:
        assert fetch_value(session, "SELECT count(*) FROM users") == 500


def test_a_check_of_the_team_s_may_choose_its_isolation(approved: tuple[Shop, str]) -> None:
    shop, _ = approved
    (shop.folder / "checks").mkdir()
    (shop.folder / "checks/calm.sql").write_text(
        "-- pgrehearse: before\nSET TRANSACTION ISOLATION LEVEL REPEATABLE READ;\nSELECT 1 FROM users WHERE id < 0;"
    )
    answer = json.loads(shop.pgrehearse("status", "prd", "--gate", "--json").stdout)
    assert [each for each in answer["gate"]["reasons"] if each["kind"] == "check"] == []


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
def test_status_says_that_a_pooler_keeps_promote_from_its_session(
    approved: tuple[Shop, str], server: LocalServer
) -> None:
    shop, _ = approved
    with pgbouncer(server, pool_mode="transaction") as pooled:
        behind = replace(shop, production=pooled.replaced(dbname=shop.production.database))
        status = behind.pgrehearse("status", "prd", "--gate", "--json")
        answer = json.loads(status.stdout)
        validate_answer("status", answer)
        (reason,) = [each for each in answer["gate"]["reasons"] if each["kind"] == "pooler"]
        promoted = behind.pgrehearse("promote", "--to", "prd")
    assert promoted.returncode == 2
    assert reason["message"] in promoted.stderr
