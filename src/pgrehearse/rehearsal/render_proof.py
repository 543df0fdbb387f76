"""What the verdicts on the data stand on, in one line."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

HOW = {
    "untouched": "not written to, by {evidence}",
    "fingerprint": "the same by fingerprint",
    "compared": "compared row by row",
    "counted": "only counted",
}
BY = {"counters": "the server's counters", "xmin": "their rows' transactions"}


def proof_told(document: Mapping[str, Any]) -> str | None:
    """``39 not written to, by the server's counters, 1 compared row by row``; None in receipts of earlier versions."""
    proof = document.get("proof")
    if proof is None:
        return None
    counts = Counter(_how(table["proof"]) for table in document["tables"] if table["proof"] is not None)
    told = ", ".join(f"{count:,} {how}" for how, count in counts.most_common()) or "no table"
    doubt = proof["counters_not_believed"]
    because = f"; the counters are not believed: {doubt}" if doubt is not None else ""
    return f"{proof['mode']}: {told}{because}"


def _how(proof: Mapping[str, Any]) -> str:
    evidence = [BY[each] for each in proof["evidence"] if each in BY]
    return HOW[proof["how"]].format(evidence=" and ".join(evidence))
