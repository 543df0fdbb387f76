"""The receipt: one rehearsal's record, immutable and named by its own digest.

Recipe ``pgrehearse-receipt-1``: the document without its ``digest``, as JSON with sorted keys, no
white space and only ASCII, behind the recipe's name and a newline; SHA-256 of that, in hex.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgrehearse.errors import ReceiptTampered, UnknownReceipt
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.secrets import find_secrets

RECIPE = "pgrehearse-receipt-1"
ENTRY_KIND = "receipt"
SHORTEST_PREFIX = 6


@dataclass(frozen=True, slots=True)
class Receipt:
    """A sealed document, shaped as ``answers/receipt.schema.json``."""

    document: Mapping[str, Any]

    @classmethod
    def seal(cls, document: Mapping[str, Any]) -> "Receipt":
        """Name the document by its digest; ``digest`` need not be in it yet."""
        return cls({**document, "digest": digest_of(document)})

    @property
    def digest(self) -> str:
        return str(self.document["digest"])

    @property
    def verdict(self) -> str:
        return str(self.document["verdict"])

    @property
    def run_document(self) -> dict[str, Any]:
        """The ``run`` answer: the receipt without what only the receipt holds."""
        return {key: value for key, value in self.document.items() if key != "receipt"}

    @property
    def is_untampered(self) -> bool:
        """Whether the document is what its digest names."""
        return digest_of(self.document) == self.digest

    def require_untampered(self) -> None:
        """Raises `ReceiptTampered` when the document is not what its digest names."""
        found = digest_of(self.document)
        if found != self.digest:
            raise ReceiptTampered(f"the receipt calls itself {self.digest[:12]}, but its content is {found[:12]}")


def digest_of(document: Mapping[str, Any]) -> str:
    """The digest by the recipe above, whatever the document itself says it is."""
    body = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(body, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{RECIPE}\n{text}".encode()).hexdigest()


def save_receipt(ledger: ReleaseLedger, receipt: Receipt, now: datetime) -> None:
    """Append it to the release ledger."""
    ledger.append(ENTRY_KIND, receipt.digest, receipt.document, now)


def find_receipt(ledger: ReleaseLedger, prefix: str | None = None) -> Receipt:
    """The receipt whose digest starts so, or the newest; raises `UnknownReceipt`, `ReceiptTampered`."""
    entries = ledger.entries(kind=ENTRY_KIND)
    if not entries:
        raise UnknownReceipt(f"no receipt in {ledger.path} yet", remedy="Make one with `pgrehearse run`.")
    if prefix is None:
        chosen = entries[-1]
    else:
        fitting = {entry.subject: entry for entry in entries if entry.subject.startswith(prefix.lower())}
        if len(prefix) < SHORTEST_PREFIX or not fitting:
            raise UnknownReceipt(f"no receipt starts with {prefix!r} (give at least {SHORTEST_PREFIX} characters)")
        if len(fitting) > 1:
            raise UnknownReceipt(f"{len(fitting)} receipts start with {prefix!r}", remedy="Give more characters.")
        (chosen,) = fitting.values()
    receipt = Receipt(chosen.body)
    receipt.require_untampered()
    return receipt


def files_of(plan: Plan, kinds: Mapping[str, list[tuple[str, str]]]) -> list[dict[str, Any]]:
    """The bytes of the plan's files, as the receipt keeps them.

    ``kinds`` gives each file's statements as (text, kind) by version.  A file with a password in it is
    kept by its digest alone: a receipt goes into pull requests.
    """
    files = []
    for migration in plan.migrations:
        holds_secret = any(find_secrets(text, kind) for text, kind in kinds.get(migration.version, [])) or bool(
            find_secrets(migration.content.decode(errors="replace"), "")  # in a comment
        )
        content = None if holds_secret else base64.b64encode(migration.content).decode("ascii")
        files.append(
            {
                "path": migration.path,
                "version": migration.version,
                "sha256": migration.sha256,
                "size_bytes": len(migration.content),
                "content_base64": content,
                "withheld": "it holds a password" if holds_secret else None,
            }
        )
    return files
