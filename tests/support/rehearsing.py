"""Rehearse one file's text, and what stands behind its verdict."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions

Rehearse = Callable[..., dict[str, Any]]


def rehearsing_on(source: Conninfo, directory: Path) -> Rehearse:
    """A function that rehearses a text; ``target`` is a server's `Conninfo`, None a private one."""

    def rehearse(text: str, *, target: Conninfo | None = None, **options: Any) -> dict[str, Any]:
        (directory / "m.sql").write_text(text)
        chosen = RehearsalOptions(
            source=source.text, target=target.text if target else None, files=(directory / "m.sql",),
            way_back=False, **options,
        )  # fmt: skip
        return dict(Project.open(None, start=directory).rehearse(chosen).document)

    return rehearse


def reasons(document: dict[str, Any]) -> str:
    """Everything that may stand behind a verdict, for a person."""
    told = [f"{entry['what']}: {entry['reason']}" for entry in document["not_measured"]]
    told += [finding["message"] for finding in document["findings"]]
    told += [str(statement["error"]) for statement in document["statements"] if statement["error"]]
    return "\n".join(told)


def marker_in(directory: Path) -> Path:
    """A file that a command run by the server could write."""
    directory.chmod(0o777)
    for parent in directory.parents:
        with contextlib.suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o055)
    return directory / "written-by-the-server"


@contextlib.contextmanager
def ordinary_role(name: str, connection: Connection, *servers: LocalServer) -> Iterator[str]:
    """A role on these servers that may make things in the connection's database; it goes with all that it owns."""
    for server in servers:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'not known'".encode())
    connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}".encode())
    connection.execute(f"GRANT CREATE ON DATABASE {connection.info.dbname} TO {name}".encode())
    yield name
    connection.execute(f"DROP OWNED BY {name} CASCADE".encode())
    for server in servers:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"DROP ROLE {name}".encode())
