import copy
import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from pgrehearse.errors import ReceiptTampered, UnknownReceipt
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.rehearsal.receipt import Receipt, digest_of, files_of, find_receipt, save_receipt

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def validator(name: str) -> Draft202012Validator:
    schemas = {
        entry.name: json.loads(entry.read_text(encoding="utf-8"))
        for entry in files("pgrehearse.answers").iterdir()
        if entry.name.endswith(".schema.json")
    }
    resources = [(content["$id"], Resource.from_contents(content)) for content in schemas.values() if "$id" in content]
    return Draft202012Validator(schemas[name], registry=Registry().with_resources(resources))


def test_a_receipt_validates_against_its_published_schema_and_so_does_its_run_answer(document: dict[str, Any]) -> None:
    validator("receipt.schema.json").validate(document)
    validator("run.schema.json").validate(Receipt(document).run_document)


def test_the_digest_is_what_the_documented_recipe_gives(document: dict[str, Any]) -> None:
    receipt = Receipt.seal(document)
    body = {key: value for key, value in document.items() if key != "digest"}
    text = "pgrehearse-receipt-1\n" + json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert receipt.digest == hashlib.sha256(text.encode()).hexdigest()
    receipt.require_untampered()


@pytest.mark.parametrize(
    "path", [("verdict",), ("tables", 0, "rows_lost"), ("receipt", "rehearsed_by"), ("plan", 0, "sha256")]
)
def test_any_change_to_a_sealed_receipt_is_noticed(document: dict[str, Any], path: tuple[Any, ...]) -> None:
    sealed = copy.deepcopy(dict(Receipt.seal(document).document))
    place: Any = sealed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "other"
    with pytest.raises(ReceiptTampered):
        Receipt(sealed).require_untampered()


def test_a_receipt_that_went_through_json_keeps_its_digest(document: dict[str, Any]) -> None:
    document["timings"] = {"a": 0.1 + 0.2, "b": 1e-7, "c": 5}
    document["role"] = "rôle \u2028 😀"
    receipt = Receipt.seal(document)
    assert digest_of(json.loads(json.dumps(receipt.document))) == receipt.digest


def test_a_receipt_is_found_by_the_start_of_its_digest(tmp_path: Path, document: dict[str, Any]) -> None:
    with ReleaseLedger.open(tmp_path / "ledger.db") as ledger:
        with pytest.raises(UnknownReceipt, match="no receipt"):
            find_receipt(ledger)
        first = Receipt.seal(document)
        second = Receipt.seal({**document, "role": "other"})
        for receipt in (first, second):
            save_receipt(ledger, receipt, NOW)
        assert find_receipt(ledger).digest == second.digest
        assert find_receipt(ledger, first.digest[:8].upper()).digest == first.digest
        for prefix in ("zzzzzz", first.digest[:3]):
            with pytest.raises(UnknownReceipt):
                find_receipt(ledger, prefix)


def test_the_bytes_of_a_file_are_kept_and_those_of_one_with_a_password_are_not() -> None:
    def migration(version: str, content: bytes) -> Migration:
        return Migration(
            version=version, name=version, path=f"{version}.sql", kind=SourceKind.SQL_FOLDER, content=content
        )

    secret = b"ALTER ROLE app PASSWORD 'c4nary_s3cret'"
    plan = Plan.of([migration("1", "SELECT 'ü';\r\n".encode()), migration("2", secret)])
    kept, withheld = files_of(plan, {"2": [(secret.decode(), "AlterRoleStmt")]})
    assert kept["content_base64"] == "U0VMRUNUICfDvCc7DQo="
    assert kept["withheld"] is None
    assert withheld["content_base64"] is None
    assert withheld["withheld"]
    assert withheld["sha256"] == hashlib.sha256(secret).hexdigest()
