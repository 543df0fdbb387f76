"""Whole-process start of `pgrehearse --version` and `--help` against a bare interpreter, in one run.

    python benchmarks/startup.py [RUNS]

Alternates the commands, prints medians and the ratios.  The aim is at most 6 times `python -c pass`.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

AIM = 6.0
PROGRAM = str(Path(sys.executable).with_name("pgrehearse"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "pgrehearse --version": [PROGRAM, "--version"],
    "pgrehearse --help": [PROGRAM, "--help"],
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):  # the first round warms the file cache and is left out
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found[1:]) * 1000 for name, found in times.items()}
    bare = medians["python -c pass"]
    for name, median_ms in medians.items():
        print(f"{name:<24}{median_ms:8.1f} ms   {median_ms / bare:5.2f} x")
    print(f"aim: at most {AIM} x; {runs} runs each, alternating, medians")


if __name__ == "__main__":
    main()
