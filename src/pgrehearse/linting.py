"""The switchboard's part for lint: from configuration and words to judged findings.

Nothing of the configuration is imported where it says nothing of lint: a file is linted as fast as it is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pgrehearse.errors import WrongUsage
from pgrehearse.hazards.baseline import read_baseline, write_baseline
from pgrehearse.hazards.lint import lint_files
from pgrehearse.hazards.scripts import read_scripts
from pgrehearse.hazards.suppress import Accepted, Judged, without_accepted
from pgrehearse.migrations.limits import TransactionMode

if TYPE_CHECKING:
    from pgrehearse.config import Config
    from pgrehearse.hazards.model import Model
    from pgrehearse.migrations.migration import Migration


@dataclass(frozen=True, slots=True, kw_only=True)
class LintOptions:
    """What `pgrehearse lint` was asked for; None: as the configuration has it."""

    paths: tuple[Path, ...] = ()
    against: str | None = None  # an environment's name, env:VARIABLE, or a URL
    baseline: Path | None = None
    write_baseline: bool = False
    transaction: str | None = None  # how the files are wrapped: auto, plan, file or statement


def lint(config_file: str | None, options: LintOptions) -> tuple[Judged, int | None]:
    """Judge files by their text, or against a database; and how many findings the baseline has, if it was written.

    Without `paths` the configured folder is read; with `against`, of that folder what is pending there.  Raises what
    `read_scripts`, `lint_files`, `without_accepted`, `read_baseline` and `open_model` raise.
    """
    config = _configuration(config_file, options)
    baseline_file = options.baseline
    if baseline_file is None and config is not None and config.lint.baseline is not None:
        baseline_file = config.located(config.lint.baseline)
    if options.write_baseline and baseline_file is None:
        raise WrongUsage("--write-baseline needs a file to write to", remedy="Name it: --baseline FILE.")
    migrations = _migrations(config_file, options)
    with _model(config_file, options) as model:
        result = lint_files(
            migrations, one_plan=model is not None, model=model, transaction=_transaction(config, options)
        )
    accepted = config.accepted_findings(without_baseline=True) if config is not None else Accepted()
    written = None
    if options.write_baseline and baseline_file is not None:
        written = write_baseline(baseline_file, without_accepted(result, migrations, accepted).result)
    if baseline_file is not None:
        accepted = replace(accepted, baseline=read_baseline(baseline_file))
    return without_accepted(result, migrations, accepted), written


def _transaction(config: "Config | None", options: LintOptions) -> TransactionMode:
    """As asked for; else as the configuration says of its own folder."""
    if options.transaction is not None:
        return TransactionMode(options.transaction)
    if config is not None and not options.paths:
        return TransactionMode(config.migrations.transaction)
    return TransactionMode.AUTO


def _configuration(config_file: str | None, options: LintOptions) -> "Config | None":
    """Only where it can matter: to import what reads it takes longer than to lint a file."""
    if config_file is None and options.paths and not any(_speaks_of_lint(each) for each in _above(Path.cwd())):
        return None
    from pgrehearse.config import open_config

    return open_config(config_file)


def _above(here: Path) -> Iterator[Path]:
    for directory in (here, *here.parents):
        if (file := directory / "pgrehearse.toml").is_file():
            yield file


def _speaks_of_lint(file: Path) -> bool:
    """Cheaply, and rather once too often: what cannot be read is the configuration's to tell."""
    try:
        return b"lint" in file.read_bytes()
    except OSError:
        return True


def _migrations(config_file: str | None, options: LintOptions) -> "tuple[Migration, ...]":
    if options.paths:
        return read_scripts(options.paths)
    if options.against is None:
        from pgrehearse.config import require_migrations_folder

        return read_scripts([require_migrations_folder(config_file)])
    from pgrehearse.project import Project

    project = Project.open(config_file)
    # What is applied there was judged by its effects long ago; the model already has them.
    return project.status(project.database(options.against), project.source(None)).pending.migrations


@contextmanager
def _model(config_file: str | None, options: LintOptions) -> "Iterator[Model | None]":
    if options.against is None:
        yield None
        return
    from pgrehearse.hazards.against import open_model
    from pgrehearse.project import Project

    with open_model(Project.open(config_file).database(options.against).conninfo) as model:
        yield model
