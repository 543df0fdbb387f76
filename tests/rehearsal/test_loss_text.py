"""How losses read, from the table as the receipt has it."""

from typing import Any

from pgrehearse.rehearsal.loss_text import column_lines, declaring_lines, loss_sentence, note_lines
from pgrehearse.rehearsal.render import render_markdown

AGE: dict[str, Any] = {
    "name": "age", "name_after": "age", "verdict": "values-changed", "values_before": 48_112, "values_changed": 2_310,
    "values_lost": 0, "values_moved": 0,
    "changes": [
        {
            "kind": "fraction-lost", "values": 2_310,
            "example": {"key": {"id": "5"}, "before": "12.5", "after": "13"},
        }
    ],
}  # fmt: skip
TRACE = {
    "what": "values", "columns": ["address"], "into": "public.addresses", "into_columns": ["line"], "joined_by": "",
    "by": {"id": "user_id"}, "sought": 48_112, "found": 48_112, "proved": True, "reason": None,
}  # fmt: skip


def table(**other: Any) -> dict[str, Any]:
    return {
        "name": "public.users", "name_after": "public.users", "verdict": "values-changed", "rows_before": 50_000,
        "rows_after": 50_000, "rows_lost": 0, "rows_merged": 0, "rows_moved": 0, "columns": [AGE], "traces": [],
        "orphans": [], "proof": None,
    } | other  # fmt: skip


def test_a_type_change_is_told_by_value_with_its_types_and_an_example() -> None:
    assert column_lines(table(), {"age": ("numeric", "integer")}) == [
        "age numeric → integer: 2,310 of 48,112 values lost their fraction, e.g. id 5: 12.5 → 13 (values-changed)"
    ]


def test_a_finding_says_it_without_any_value() -> None:
    assert loss_sentence(table()) == "2,310 of 48,112 values of age in public.users lost their fraction"
    assert "12.5" not in loss_sentence(table(rows_lost=4, rows_merged=3))
    assert loss_sentence(table(rows_lost=4, rows_merged=3)) == (
        "public.users loses 4 of 50,000 rows (3 duplicates merged); 2,310 of 48,112 values of age lost their fraction"
    )


def test_values_that_were_found_again_are_told_with_their_place() -> None:
    moved = AGE | {"name": "address", "values_lost": 48_112, "values_moved": 48_112, "values_changed": 0, "changes": []}
    found = table(columns=[moved], traces=[TRACE])
    assert column_lines(found) == ["address: 48,112 values lost (all found again) (values-changed)"]
    assert note_lines(found) == ["values of address found again in public.addresses (line) by id = user_id: all 48,112"]
    assert loss_sentence(found) == (
        "public.users loses 48,112 values of address (all found again in public.addresses (line))"
    )
    assert declaring_lines(found) == ["-- pgrehearse: expect drops column public.users.address"]


def test_rows_that_were_found_again_are_told_with_their_places_and_how_to_declare_them() -> None:
    trace = TRACE | {"what": "rows", "into": "public.archive", "found": 9, "sought": 10}
    found = table(rows_lost=10, rows_moved=10, columns=[], traces=[trace, trace | {"into": "public.other", "found": 1}])
    assert loss_sentence(found) == (
        "public.users loses 10 of 50,000 rows (all found again in public.archive and public.other)"
    )
    assert declaring_lines(found) == ["-- pgrehearse: expect deletes public.users"]
    assert declaring_lines(found | {"name_after": None}) == ["-- pgrehearse: expect drops public.users"]
    assert declaring_lines(found | {"rows_moved": 9}) == []
    assert "(9 found again in public.archive" in loss_sentence(found | {"rows_moved": 9})
    assert declaring_lines(found | {"columns": [AGE]}) == []
    assert declaring_lines(table(columns=[])) == []


def test_what_may_be_coincidence_says_so_and_is_no_move() -> None:
    trace = TRACE | {"proved": False, "reason": "only 2 different values: it may be coincidence"}
    assert note_lines(table(traces=[trace])) == [
        "values of address like those in public.addresses (line) by id = user_id: all 48,112, and not taken for found "
        "again: only 2 different values: it may be coincidence"
    ]
    lost = AGE | {"name": "address", "values_lost": 48_112, "changes": [], "values_changed": 0}
    assert "found again" not in loss_sentence(table(columns=[lost], traces=[trace]))
    assert declaring_lines(table(columns=[lost], traces=[trace])) == []


def test_duplicates_and_orphans_are_notes() -> None:
    orphans = {"child": "public.orders", "columns": ["user_id"], "parent": "public.users", "rows": 10}
    assert note_lines(table(rows_lost=4, rows_merged=3, orphans=[orphans])) == [
        "3 duplicate rows merged: rows like them, but for the key, are still there",
        "10 rows of public.orders (user_id) lost their parent here",
    ]


def test_an_old_receipt_without_these_facts_reads_as_it_did(document: dict[str, Any]) -> None:
    assert "48,112 values lost (dropped)" in render_markdown(document)
