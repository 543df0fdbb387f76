"""Who did it, as far as this machine knows."""

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIT_TIMEOUT_S = 5
_ADDRESS = re.compile(r"<([^<>]+@[^<>]+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A claim, not a proof."""

    login: str
    host: str
    git: str | None  # "Ann Example <ann@example.org>"

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Person":
        return cls(login=body["login"], host=body["host"], git=body["git"])

    def as_json(self) -> dict[str, Any]:
        return {"login": self.login, "host": self.host, "git": self.git}

    def __str__(self) -> str:
        return self.git or f"{self.login} on {self.host}"

    @property
    def at_host(self) -> str:
        """Who, and on which machine."""
        return f"{self.git or self.login} on {self.host}"

    def is_same(self, other: "Person") -> bool:
        """One login of one machine is one person whatever git says there; so is one git identity on two machines."""
        return (self.login, self.host) == (other.login, other.host) or self.has_git_of(other)

    def has_git_of(self, other: "Person") -> bool:
        """One address of git's is one person, however the name before it is written."""
        return self.git is not None and other.git is not None and _who(self.git) == _who(other.git)


def _who(git: str) -> str:
    found = _ADDRESS.search(git)
    return (found[1] if found else git).strip().casefold()


def read_person(directory: Path) -> Person:
    """The login name, the host's name, and git's identity in that directory where there is one."""
    return Person(login=_login(), host=socket.gethostname(), git=_git_identity(directory))


def _login() -> str:
    """A container may run as a user without a name: then it is known by its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"uid {os.getuid()}"


def _git_identity(directory: Path) -> str | None:
    found = []
    for key in ("user.name", "user.email"):
        try:
            done = subprocess.run(
                ["git", "config", "--get", key], cwd=directory, capture_output=True, text=True,
                timeout=GIT_TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        found.append(done.stdout.strip())
    name, email = found
    return f"{name} <{email}>" if name and email else name or email or None
