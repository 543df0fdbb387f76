"""How thoroughly a rehearsal compares data, from the request to the receipt."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.schemas import validate_answer

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.rehearsal.render_proof import proof_told

pytestmark = pytest.mark.pg("== 18")

SHOP = """
CREATE TABLE calm (id int PRIMARY KEY, v text); INSERT INTO calm SELECT i, 'calm ' || i FROM generate_series(1, 50) i;
CREATE TABLE moved (id int PRIMARY KEY, n numeric); INSERT INTO moved SELECT i, i + 0.5 FROM generate_series(1, 20) i
"""
CUT = "ALTER TABLE moved ALTER n TYPE integer; -- rounds every value"


@pytest.fixture
def owner(connection: Connection, server: LocalServer) -> Iterator[str]:
    """An ordinary role that owns both tables."""
    name = f"proof_owner_{os.getpid()}"
    connection.execute(SHOP)
    connection.execute(f"CREATE ROLE {name} LOGIN")
    connection.execute(f"ALTER TABLE calm OWNER TO {name}; ALTER TABLE moved OWNER TO {name}")
    connection.execute(f"GRANT CREATE ON DATABASE {connection.info.dbname} TO {name}")
    yield name
    connection.execute(f"DROP OWNED BY {name}")
    with suppress(Exception), connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP ROLE {name}")


def rehearse(directory: Path, source: Conninfo, plan: str = CUT, **options: Any) -> Receipt:
    (directory / "cut.sql").write_text(plan)
    chosen = RehearsalOptions(source=source.text, files=(directory / "cut.sql",), way_back=False, **options)
    receipt = Project.open(None, start=directory).rehearse(chosen)
    validate_answer("run", receipt.run_document)
    validate_answer("receipt", dict(receipt.document))
    return receipt


def proofs(receipt: Receipt) -> dict[str, tuple[str, list[str]]]:
    return {table["name"]: (table["proof"]["how"], table["proof"]["evidence"]) for table in receipt.document["tables"]}


def test_an_ordinary_roles_untouched_tables_are_not_read(tmp_path: Path, database: Conninfo, owner: str) -> None:
    receipt = rehearse(tmp_path, database, role=owner)
    assert receipt.verdict == "loss"
    assert receipt.document["proof"] == {"mode": "touched", "counters_not_believed": None}
    assert proofs(receipt) == {
        "public.calm": ("untouched", ["catalog", "relfilenode", "counters"]),
        "public.moved": ("compared", []),
    }
    told = "touched: 1 not written to, by the server's counters, 1 compared row by row"
    assert proof_told(receipt.document) == told


def test_a_superusers_rows_are_asked_who_wrote_them(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(SHOP)
    receipt = rehearse(tmp_path, database, target=uat.conninfo().text)
    assert receipt.document["proof"]["counters_not_believed"] == "role postgres is a superuser"
    assert proofs(receipt)["public.calm"] == ("untouched", ["catalog", "relfilenode", "xmin", "count"])
    assert "the counters are not believed: role postgres is a superuser" in (proof_told(receipt.document) or "")


def test_counting_is_never_dressed_up_as_a_yes(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    """Only rows are counted: what lint predicts stays a prediction, the verdict is no clean one, the grade says why."""
    connection.execute(SHOP)
    plan = "TRUNCATE moved; INSERT INTO moved SELECT i, i FROM generate_series(1, 20) i;"
    receipt = rehearse(tmp_path, database, plan, target=uat.conninfo().text, proof="counts")
    document = receipt.document
    assert proofs(receipt) == {"public.calm": ("counted", []), "public.moved": ("counted", [])}
    assert [fact["what"] for fact in document["not_measured"] if "--proof counts" in fact["reason"]] == [
        "the values of all tables"
    ]
    assert document["grade"]["full"] is False
    assert any("--proof counts" in reason for reason in document["grade"]["why_not"])
    predicted = [finding for finding in document["findings"] if "data-loss" in finding["classes"]]
    assert {finding["evidence"] for finding in predicted} == {"predicted"}
    assert receipt.verdict in ("unmeasured", "hazard")


def test_a_full_proof_reads_every_value_and_finds_the_same(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(SHOP)
    (tmp_path / "pgrehearse.toml").write_text('[rehearsal]\nproof = "full"\n')
    receipt = rehearse(tmp_path, database, target=uat.conninfo().text)
    assert receipt.document["proof"] == {"mode": "full", "counters_not_believed": None}
    assert proofs(receipt) == {"public.calm": ("fingerprint", []), "public.moved": ("compared", [])}
    moved = next(table for table in receipt.document["tables"] if table["name"] == "public.moved")
    assert [column["values_changed"] for column in moved["columns"]] == [0, 20]
