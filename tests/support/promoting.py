"""A folder of migrations rehearsed on another server, and production as it is when the receipt is promoted."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.applying import QUICK
from tests.support.dumps import dump_text

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.sources.find import open_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import Project, RehearsalOptions, utc_now
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.gate import Gate
from pgrehearse.release.promote import promote
from pgrehearse.release.promotion import Promotion, PromotionRequest
from pgrehearse.release.promotion_run import Around
from pgrehearse.release.recoverability import Proof

LEDGER = "pgrehearse.migrations"
_receipts: dict[tuple[str, ...], Receipt] = {}


def folder_of(directory: Path, *texts: str) -> Source:
    """A folder with 0001_step.sql, 0002_step.sql … of these texts."""
    folder = directory / "db"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04}_step.sql").write_text(text)
    return open_source(folder, display="db")


def drizzle_folder_of(directory: Path, *texts: str) -> Source:
    """The same files as drizzle-kit 0.31 keeps them."""
    folder = directory / "db"
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    entries = []
    for number, text in enumerate(texts, 1):
        tag = f"{number:04}_step"
        (folder / f"{tag}.sql").write_text(text.replace(";", ";--> statement-breakpoint"))
        entries.append(
            {"idx": number, "version": "7", "when": 1_700_000_000_000 + number, "tag": tag, "breakpoints": True}
        )
    journal = {"version": "7", "dialect": "postgresql", "entries": entries}
    (folder / "meta" / "_journal.json").write_text(json.dumps(journal))
    return open_source(folder, display="db")


def rehearse_folder(
    directory: Path,
    production: Conninfo,
    uat: LocalServer,
    *texts: str,
    make: Callable[..., Source] = folder_of,
) -> tuple[Receipt, Source]:
    """The receipt of all these files on a clone of production.

    Of the same files and the same content, to the byte of their dump, it is made once and shared: the gate, which
    would tell databases apart, is not asked by who uses it.
    """
    source = make(directory, *texts)
    key = (uat.conninfo().text, make.__name__, *texts, dump_text(production))
    if key not in _receipts:
        options = RehearsalOptions(source=production.text, target=uat.conninfo().text, folder=directory / "db")
        _receipts[key] = Project.open(None, start=directory).rehearse(options)
    receipt = _receipts[key]
    assert receipt.verdict not in ("failed", "unmeasured"), receipt.document["not_measured"]
    return receipt, source


def plan_of_source(source: Source) -> Plan:
    return Plan.of(source.migrations)


def request_for(production: Conninfo, receipt: Receipt, source: Source, **more: Any) -> PromotionRequest:
    """A promotion with short limits."""
    given: dict[str, Any] = {
        "production": production,
        "environment": "prd",
        "receipt": receipt,
        "migrations": source.migrations,
        "ledger": source.ledger,
        "mode": TransactionMode.AUTO,
        "limits": QUICK,
        "by": {"login": "ann", "host": "here", "git": None},
        "holder": "ann on here",
        **more,
    }
    return PromotionRequest(**given)


def run_promotion(
    request: PromotionRequest,
    releases: ReleaseLedger,
    *,
    gate: Callable[[], Gate] = Gate,
    rest: Callable[[], Gate] = Gate,
    again: Callable[[object], Gate] = lambda _session: Gate(),
    approved: Callable[[], Gate] = Gate,
    secure: Callable[[], tuple[Proof, ...]] = lambda: (),
    require: Callable[[Sequence[Proof]], None] = lambda _proofs: None,
    told: list[str] | None = None,
) -> Promotion:
    """`promote` with a gate that is open, and nothing but images to take it back with."""
    return promote(
        request,
        releases=releases,
        now=utc_now,
        nonce=lambda: secrets.token_hex(4),
        around=Around(gate=gate, rest=rest, again=again, approved=approved, secure=secure, require=require),
        progress=Silent(),
        tell=(told if told is not None else []).append,
    )


@contextmanager
def ledger_database(uat: LocalServer) -> Iterator[Conninfo]:
    """A database on the other server that holds the release ledger."""
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute("DROP DATABASE IF EXISTS release_ledger WITH (FORCE)")
        admin.execute("CREATE DATABASE release_ledger")
        yield uat.conninfo("release_ledger")
        admin.execute("DROP DATABASE IF EXISTS release_ledger WITH (FORCE)")
