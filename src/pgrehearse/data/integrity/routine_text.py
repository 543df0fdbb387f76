"""The words of a routine's text that may name what it calls, and those that may name what it reads.

Pure.  Both find too much rather than too little: a relation that is read stands in a FROM or the like, or in a string
that becomes a statement; elsewhere a word of its name is a parameter, a variable or a column.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

SQL_LANGUAGES = ("sql", "plpgsql")  # of others no word is known to be no relation

_WORD = r"[^\W\d][\w$]*|\"(?:[^\"]|\"\")+\""
_TOKEN = re.compile(rf"--[^\n]*|/\*.*?\*/|(?P<string>'(?:[^']|'')*')|(?P<word>{_WORD})|(?P<mark>[();])", re.DOTALL)
_WORDS = re.compile(_WORD)
# Where these stand the tokens may be cut otherwise than the server cuts them.
_HARD_TO_CUT = re.compile(r"\\|\$[\w]*\$|/\*(?:(?!\*/).)*/\*", re.DOTALL)
# What follows one of these may be relations …
_READING = frozenset({"from", "join", "table", "only", "into", "update", "using", "copy", "merge"})
# … up to one of these, all of them reserved: no alias is called so.
_ENDING = frozenset(
    {"where", "select", "group", "order", "having", "limit", "offset", "fetch", "window", "returning", "then", "union"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """As the catalog writes names."""

    all: frozenset[str]
    of_relations: frozenset[str]  # those of them where a relation could stand


@lru_cache(maxsize=1024)
def words_of(text: str, language: str) -> Words:
    every = frozenset(map(_name, _WORDS.findall(text)))
    if language not in SQL_LANGUAGES or _HARD_TO_CUT.search(text):
        return Words(all=every, of_relations=every)
    return Words(all=every, of_relations=frozenset(_where_relations_stand(text)))


def _where_relations_stand(text: str) -> Iterator[str]:
    reads = [False]  # for each open bracket, whether a relation could stand here
    for token in _TOKEN.finditer(text):
        if token["string"] is not None:
            yield from map(_name, _WORDS.findall(token["string"]))
        elif token["word"] is not None:
            word = token["word"]
            if word.lower() in _ENDING:
                reads[-1] = False
            elif reads[-1]:  # some that begin a clause are not reserved
                yield _name(word)
            if word.lower() in _READING:
                reads[-1] = True
        elif token["mark"] == "(":
            reads.append(reads[-1])
        elif token["mark"] == ")":
            if len(reads) > 1:
                reads.pop()
        elif token["mark"] == ";":
            reads = [False]


def _name(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
