"""Nobody is told of "1 rows": a number before a noun goes through `pgrehearse.counted`."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import pgrehearse
from pgrehearse.counted import agree, counted

SOURCES = Path(pgrehearse.__file__).parent
NOUNS = "rows|statements|values|tables|sessions|queries|migrations|backups|days|steps|files|columns"
MANY = re.compile(rf" (?:more |other )?(?:{NOUNS})\b")
NEVER_ONE = {  # what stands before the noun is no number of it, or a constant, or certainly more than one
    ("contention_run.py", "MOST_STATEMENTS"),
    ("inventory.py", "len(fitting)"),
    ("rows.py", "_round_up(difference)"),
    ("freshness.py", "rows"),  # a change with its sign: +1 rows by estimate
}


def plurals_behind_numbers(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for number, text in pairwise(parts):
            if isinstance(number, ast.FormattedValue) and MANY.match(str(getattr(text, "value", ""))):
                yield ast.unparse(number.value)


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 rows are"), (1, "1 row is"), (2, "2 rows are"), (12_345, "12,345 rows are")]
)
def test_a_noun_and_its_verb_go_with_the_number(number: int, told: str) -> None:
    assert f"{counted(number, 'row')} {agree(number, 'is', 'are')}" == told


def test_no_message_puts_a_number_before_a_fixed_plural() -> None:
    found = {(file.name, number) for file in SOURCES.rglob("*.py") for number in plurals_behind_numbers(file)}
    assert found == NEVER_ONE
