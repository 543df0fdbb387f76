"""A folder of migrations rehearsed on another server, and production as it is when the receipt is promoted."""

from pathlib import Path

from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.sources.find import open_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.receipt import Receipt

LEDGER = "pgrehearse.migrations"


def folder_of(directory: Path, *texts: str) -> Source:
    """A folder with 0001_step.sql, 0002_step.sql … of these texts."""
    folder = directory / "db"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04}_step.sql").write_text(text)
    return open_source(folder, display="db")


def rehearse_folder(directory: Path, production: Conninfo, uat: LocalServer, *texts: str) -> tuple[Receipt, Source]:
    """The receipt of all these files on a clone of production."""
    source = folder_of(directory, *texts)
    options = RehearsalOptions(source=production.text, target=uat.conninfo().text, folder=directory / "db")
    receipt = Project.open(None, start=directory).rehearse(options)
    assert receipt.verdict not in ("failed", "unmeasured"), receipt.document["not_measured"]
    return receipt, source


def plan_of_source(source: Source) -> Plan:
    return Plan.of(source.migrations)
