"""A statement as a rule meets it: its tree and the very text, so that remedies keep the user's own words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pgrehearse.hazards.tree import Node
from pgrehearse.migrations.statements import TransactionNeed

# A word's characters are told by what they are not: a class that names all of Unicode takes long to compile.
_TOKEN = re.compile(
    r"(?P<word>[^\0-@\[-\^`{-\x7f][^\0-#%-/:-@\[-\^`{-\x7f]*)|(?P<other>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
    r"|--[^\n]*|/\*.*?\*/)|(?P<open>[(\[])|(?P<close>[)\]])|(?P<comma>,)|(?P<end>;)",
    re.DOTALL,
)
_BLANKS = re.compile(r"\s+")


@dataclass(slots=True, kw_only=True)
class Written:
    """One statement, of a file or of a body inside it."""

    kind: str
    tree: Node
    text: str
    first_byte: int = 0
    need: TransactionNeed = TransactionNeed.ANY
    inside: bool = False  # of a DO block or a function
    conditional: bool = False  # and there perhaps not reached, or behind an EXCEPTION block
    branched: bool = False  # perhaps not reached, whatever fails
    caught: bool = False  # and there its error is perhaps caught
    _line: str | None = field(default=None, repr=False)

    def character(self, location: int) -> int:
        """A tree's byte location as a character of the text."""
        offset = location - self.first_byte
        return offset if self.text.isascii() else len(self.text.encode()[:offset].decode(errors="ignore"))

    def item_at(self, location: int) -> str:
        """From there to the next comma, closing parenthesis or end at the same depth, on one line."""
        start = self.character(location)
        return _one_line(self.text[start : _item_end(self.text, start)])

    @property
    def on_one_line(self) -> str:
        """The whole statement without comments and line breaks."""
        if self._line is None:
            self._line = _one_line(self.text)
        return self._line

    def with_word(self, pattern: str, replacement: str) -> str:
        """The statement with its first keyword that matches replaced; strings and comments are safe."""
        for match in _TOKEN.finditer(self.text):
            if match["word"] and re.fullmatch(pattern, match["word"], re.IGNORECASE):
                return self.text[: match.start()] + replacement + self.text[match.end() :]
        return self.text


def _one_line(text: str) -> str:
    pieces: list[str] = []
    at = 0
    for match in _TOKEN.finditer(text):
        if match["other"]:
            pieces.append(_BLANKS.sub(" ", text[at : match.start()]))
            pieces.append(" " if match["other"].startswith(("--", "/*")) else match["other"])
            at = match.end()
    pieces.append(_BLANKS.sub(" ", text[at:]))
    return "".join(pieces).strip()


def _item_end(text: str, start: int) -> int:
    depth = 0
    for match in _TOKEN.finditer(text, start):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
            if depth < 0:
                return match.start()
        elif depth == 0 and (match["comma"] or match["end"]):
            return match.start()
    return len(text)


def words(text: str) -> Iterator[str]:
    """The bare words of an SQL text, lower case."""
    return (match["word"].lower() for match in _TOKEN.finditer(text) if match["word"])
