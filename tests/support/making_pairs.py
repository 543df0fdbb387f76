"""A process that makes a pair and says where it is, to be killed: `python -m tests.support.making_pairs LEDGER`."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from pgrehearse.clones.pair import make_pair
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.conninfo import Conninfo

READY = "ready"


def start_making(
    ledger: Path, source: Conninfo, target: Conninfo | None, *, keep: bool = False
) -> "subprocess.Popen[str]":
    """Start it; each step is a line of its stdout, the last one `READY`, after which it only waits."""
    environment = os.environ | {"SOURCE": source.text, "TARGET": target.text if target else "", "KEEP": "x" * keep}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.making_pairs", str(ledger)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    target = os.environ["TARGET"]
    with (
        ReleaseLedger.open(Path(sys.argv[1])) as ledger,
        make_pair(
            Conninfo(os.environ["SOURCE"]),
            Conninfo(target) if target else None,
            ledger=ledger,
            now=lambda: datetime.now(UTC),
            create_roles=True,
            keep=bool(os.environ["KEEP"]),
            progress=lambda what: print(what, flush=True),
        ),
    ):
        print(READY, flush=True)
        time.sleep(600)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
