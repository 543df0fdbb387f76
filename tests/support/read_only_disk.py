"""A folder that may only be read: for root, whom no mode stops, by a file system that is mounted so."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.small_disk import small_disk


@contextmanager
def written_and_sealed(place: Path) -> Iterator["Seal"]:
    """A new folder; what is to lie there is written before `Seal.close`."""
    if os.geteuid() == 0:
        with small_disk(place, 4):
            yield Seal(place)
        return
    place.mkdir(parents=True)
    try:
        yield Seal(place)
    finally:
        place.chmod(0o700)


class Seal:
    def __init__(self, place: Path) -> None:
        self.place = place

    def close(self) -> None:
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True)
            return
        for file in self.place.iterdir():
            file.chmod(0o400)
        self.place.chmod(0o500)
