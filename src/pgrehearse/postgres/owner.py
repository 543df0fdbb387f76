"""Whose a leftover is: the process that made it, told apart from a later one with the same pid."""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process of one machine since one boot."""

    host: str
    boot_id: str | None  # Linux; None elsewhere
    pid: int
    started: int | None  # clock ticks after boot; None where /proc is missing

    @classmethod
    def of(cls, pid: int) -> "Owner":
        return cls(host=socket.gethostname(), boot_id=_boot_id(), pid=pid, started=_started(pid))

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Owner":
        return cls(host=body["host"], boot_id=body["boot_id"], pid=body["pid"], started=body["started"])

    @classmethod
    def find(cls, file: Path) -> "Owner | None":
        """The owner that a marker file names; None for one that is not ours to judge."""
        try:
            return cls.from_json(json.loads(file.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_text(self) -> str:
        return json.dumps(self.as_json()) + "\n"

    def is_here(self) -> bool:
        """Whether this machine can say anything about it."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Whether the process still runs; a process of another machine counts as alive, since we cannot know."""
        if not self.is_here():
            return True
        if self.boot_id != _boot_id():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.started is None or _started(self.pid) == self.started


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; the command in parentheses before it may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    # a zombie has ended; its parent has only not asked yet
    return None if fields[0] == "Z" else int(fields[19])
