"""Start a program that ends when we do, and lose no Ctrl-C on the way."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: not safe between fork and exec


def start_child(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes],
    dies_with_us: signal.Signals | None,
    only_stderr: bool = False,
    **more: Any,
) -> "subprocess.Popen[bytes]":
    """Start it in a session of its own (Ctrl-C in the terminal is for us, who end it in order).

    ``dies_with_us`` is sent to it when the thread that started it ends (Linux).  SIGINT and SIGTERM wait until
    it runs: Python drops an exception that a signal handler raises in the hooks that run around fork.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)

    def prepare() -> None:
        if _libc is not None and dies_with_us is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(dies_with_us))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    process: subprocess.Popen[bytes] | None = None
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if only_stderr else output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  only system calls, which are safe after fork
            **more,
        )
    finally:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # an interrupt that waited is raised here
        except BaseException:
            if process is not None:
                process.kill()
                process.wait()
            raise
    return process
