"""The commented pgrehearse.toml that `init` writes."""

import json
from collections.abc import Iterator

from pgrehearse.discover.folder import Discovered, FoundEnvironment

_HEAD = """\
# pgrehearse: every key is explained in docs/configuration.md.
# No URL with a password belongs here: name the variable that holds it.
"""
_TAIL = """\

[clone]
# A private local server is used unless --target names a UAT server.
# same_server = false        # true: accept a clone on the server that holds a protected database
# create_roles = false       # true: make production's missing roles on the UAT server
# jobs = 2                   # parallel dump, restore and comparison
# directory = "/var/tmp"     # where dumps and private servers live; needs the size of the database
# keep = false               # true: keep the clone after a rehearsal

[lint]
# What single hazards weigh here; `pgrehearse explain --list` names them.
# ignore = ["prefer-text"]
# levels = { create-index = "error" }
# baseline = "lint-baseline.json"   # findings that are accepted as they are: pgrehearse lint --write-baseline

[checks]
# Each *.sql file here must return no rows on the rehearsed clone, or the same as before.
# directory = "checks"
# Your application's tests, with the clone's URL in that variable.
# command = "npm test"
# url_variable = "DATABASE_URL"

[promotion]
# What the gate asks for before anything is promoted.
# max_age_hours = 24           # how old the rehearsal's clone may be
# approvals = 1                # how many people must have approved the receipt
# approved_by_another = false  # true: the one who ran the rehearsal does not count

[backup]
# How a promotion can be taken back, proved before anything is touched: dump, before-images, external.
# policy = "auto"
# directory = ".pgrehearse/backups"

[ledger]
# Receipts, approvals and promotions are kept here.
# path = ".pgrehearse/ledger.db"
# url_env = "PGREHEARSE_LEDGER_URL"   # a PostgreSQL database instead, for a team that shares one ledger
"""


def toml_text(found: Discovered) -> str:
    """The file's text; valid as it is, and with any of its commented keys put in force."""
    lines = [_HEAD]
    for environment in found.environments:
        lines.extend(_environment(environment))
    lines.append("[migrations]")
    lines.extend(_migrations(found))
    return "\n".join(lines) + "\n" + _TAIL


def _environment(environment: FoundEnvironment) -> Iterator[str]:
    yield f"[environments.{environment.name}]"
    yield f"url_env = {_quoted(environment.url_variable)}"
    if environment.env_file is not None:
        yield f"env_file = {_quoted(environment.env_file)}"
    else:
        yield '# env_file = ".env.production"   # read the variable from this file instead of the environment'
    if environment.is_guess:
        yield "# Its host is remote, so it is taken for production; write false if it is not."
    yield f"protected = {'true' if environment.protected else 'false'}"
    if environment.protected:
        yield "# max_block_s = 5             # cancel ourselves when others have waited behind us for longer"
    yield ""


def _migrations(found: Discovered) -> Iterator[str]:
    if found.migrations is None:
        yield '# path = "migrations"        # the folder with your migrations; none was found'
    else:
        yield f"path = {_quoted(found.migrations.path)}"
    yield '# transaction = "auto"       # as the source\'s own tool does; or plan, file, statement'
    yield '# role = "app_owner"         # the role that runs migrations in production; default: the URL\'s user'
    drizzle = found.drizzle
    yield _key("drizzle_schema", drizzle.ledger_namespace if drizzle else None, "drizzle")
    yield _key("drizzle_table", drizzle.ledger_table if drizzle else None, "__drizzle_migrations")


def _key(key: str, value: str | None, default: str) -> str:
    return f"# {key} = {_quoted(default)}" if value in (None, default) else f"{key} = {_quoted(value)}"


def _quoted(text: str | None) -> str:
    """A TOML basic string, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
