"""Secrets struck out of a text: wherever they are, or where a secret stands, if they are too short for that."""

import re
from collections.abc import Iterable

MASK = "***"
SHORTEST_ANYWHERE = 4  # characters: a shorter one is a part of words that have nothing to do with it
# What stands before a password: password=x, PASSWORD 'x', //user:x@
_BEFORE = r"(?P<before>(?:password|passphrase|passwd|_key|_secret)['\"]?\s*[=: ]\s*['\"]?|://[^\s:/@]*:)"


def hide(text: str, secrets: Iterable[str], *, quoted: bool = False) -> str:
    """The text with ``***`` for each secret; with ``quoted`` a short one is struck out between quotes, too."""
    for secret in sorted({each for each in secrets if each}, key=len, reverse=True):
        if len(secret) >= SHORTEST_ANYWHERE:
            text = text.replace(secret, MASK)
            continue
        written = re.escape(secret) + r"(?![\w%])"
        text = re.sub(_BEFORE + written, rf"\g<before>{MASK}", text, flags=re.IGNORECASE)
        if quoted:
            text = re.sub(rf"(['\"]){re.escape(secret)}\1", rf"\1{MASK}\1", text)
    return text
