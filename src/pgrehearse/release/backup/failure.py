"""What went wrong while a backup was made, restored or compared, as one clear error with a way out."""

import contextlib
import re
from collections.abc import Iterator

import psycopg

from pgrehearse.errors import BackupFailed, CloneFailed
from pgrehearse.postgres.connect import scrub
from pgrehearse.postgres.conninfo import Conninfo

DISK_FULL = re.compile(r"No space left|Disk quota|could not extend file|File too large|SIGXFSZ", re.IGNORECASE)
DISK_FULL_REMEDY = "Free disk space, or name a larger place with backup.directory, then run the command again."


@contextlib.contextmanager
def told_as_failure(doing: str, *addresses: Conninfo) -> Iterator[None]:
    """Errors of pg_dump, pg_restore, the server and the file system become `BackupFailed`, without secrets."""
    try:
        yield
    except CloneFailed as error:
        told = scrub(str(error), *addresses)
        remedy = error.remedy if error.remedy != CloneFailed.default_remedy else None
        raise BackupFailed(f"{doing} failed: {told}", remedy=_remedy(told, remedy)) from error
    except psycopg.Error as error:
        told = error.diag.message_primary or scrub(str(error), *addresses)
        told = f"{told} ({error.sqlstate or 'no SQLSTATE'})"
        raise BackupFailed(f"{doing} failed: {told}", remedy=_remedy(told, None)) from error
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        raise BackupFailed(f"{doing} failed: {told}", remedy=_remedy(told, None)) from error


def _remedy(told: str, otherwise: str | None) -> str | None:
    return DISK_FULL_REMEDY if DISK_FULL.search(told) else otherwise
