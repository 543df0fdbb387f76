"""Who did it, where a machine knows little."""

import getpass
import os
from pathlib import Path

import pytest

from pgrehearse.rehearsal.person import read_person


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set")])
def test_a_user_without_a_name_is_known_by_its_number(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert read_person(tmp_path).login == f"uid {os.getuid()}"
