"""The program as a user starts it, in a process of its own, without importing it anew for each of hundreds of calls.

A server that has imported the program, and has opened nothing, forks one process per call.  That a fresh interpreter
does the same is what `tests/cli/test_main.py` and the README's commands are for.
"""

import io
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pgrehearse

TIMEOUT_S = 240

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [each.name for each in pkgutil.walk_packages(pgrehearse.__path__, "pgrehearse.") if "__main__" not in each.name]
)


def run_program(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """``pgrehearse ARGUMENTS`` in ``cwd``, with exactly this environment (default: the test's own)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given = (list(arguments), str(cwd), dict(os.environ if env is None else env))
        child = _processes.Process(target=_run, args=(*given, _Handed(out.fileno()), _Handed(err.fileno())))
        child.start()
        child.join(timeout_s)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired(["pgrehearse", *arguments], timeout_s)
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode())
    return subprocess.CompletedProcess(["pgrehearse", *arguments], child.exitcode, *told)


class _Handed:
    """An open file, handed to the process that is started."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[object, ...]:
        from multiprocessing.reduction import DupFd

        return _Handed._taken, (DupFd(self.descriptor),)

    @staticmethod
    def _taken(duplicate: object) -> int:
        return int(duplicate.detach())  # type: ignore[attr-defined]


def _run(arguments: Sequence[str], directory: str, environment: Mapping[str, str], out: int, err: int) -> None:
    """In the new process: as `pgrehearse.__main__` does it."""
    from pgrehearse.cli.main import main

    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, mode, closefd=False), encoding="utf-8", write_through=number == 2)
        for number, mode in enumerate(("r", "w", "w"))
    )
    sys.argv = ["pgrehearse", *arguments]
    main()
