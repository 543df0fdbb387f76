"""The labelled migrations through a whole rehearsal, and what its receipt says in the words of the labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql
from tests.support.hazard_corpus import SETTINGS, Case, Verdict, prepare_server, run_setup

from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.receipt import Receipt

APPLICATION_ROLE = "app_user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Production's, and one to clone onto; both with the roles and the tablespace of the cases."""

    production: LocalServer
    uat: LocalServer


@contextmanager
def start_servers(major: int) -> Iterator[Servers]:
    """Both, prepared; gone afterwards."""
    binaries = require_server(major)
    with (
        LocalServer.create(binaries, settings=SETTINGS) as production,
        LocalServer.create(binaries, settings=SETTINGS) as uat,
    ):
        for server in (production, uat):
            prepare_server(server)
        yield Servers(production=production, uat=uat)


def rehearse_case(case: Case, servers: Servers, folder: Path) -> Receipt:
    """The receipt of one case; ``folder`` is empty and its own.

    What may not run on a shared server is rehearsed again on a private one, as the report advises.
    """
    migration, application = folder / "migration.sql", folder / "application.sql"
    migration.write_text(case.executed, encoding="utf-8")
    application.write_text("".join(f"{statement};\n" for statement in case.application), encoding="utf-8")
    with _production(case, servers.production) as source:
        receipt = _rehearse(case, source, servers.uat.conninfo(), folder)
        left_out = [each for each in receipt.document["not_measured"] if each["what"].endswith("was not run")]
        if receipt.verdict != "unmeasured" and not left_out:
            return receipt
        return _rehearse(case, source, None, folder)


def rehearsal_verdict(receipt: Receipt) -> Verdict:
    """What it measured, label by label; only what was seen counts, no prediction."""
    document = receipt.document
    statements = document["statements"]
    told = {
        "rewrite": any(statement["rewrites"] for statement in statements),
        "full_scan_under_lock": any(statement["scans_under_lock"] for statement in statements),
        "data_loss": receipt.verdict == "loss",
        "breaks_old_app": any(_breaks(finding) for finding in document["findings"]),
        "fails": receipt.verdict == "failed",
    }
    modes = [LockMode(mode) for statement in statements for mode in statement["locks"].values()]
    return Verdict(
        labels=frozenset(label for label, holds in told.items() if holds),
        lock=max(modes, key=lambda mode: mode.strength, default=None),
    )


def _breaks(finding: dict[str, Any]) -> bool:
    return bool(finding["hazard"] == "query-breaks" and finding["level"] == "error")


def _rehearse(case: Case, source: Conninfo, target: Conninfo | None, folder: Path) -> Receipt:
    mode = "file" if case.mode is TransactionMode.FILE else "statement"
    options = RehearsalOptions(
        source=source.text,
        target=target.text if target is not None else None,
        files=(folder / "migration.sql",),
        transaction=mode,
        way_back=False,
        application=folder / "application.sql",
        application_role=APPLICATION_ROLE,
    )
    return Project.open(None, start=folder).rehearse(options)


@contextmanager
def _production(case: Case, server: LocalServer) -> Iterator[Conninfo]:
    name = sql.Identifier("case")
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        with connect(server.conninfo("case"), verb="test") as session:
            run_setup(session, case.setup)
        yield server.conninfo("case")
    finally:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
