"""What a table lost, in words: one wording for findings and for reports, made from the table as the receipt has it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgrehearse.counted import agree, counted
from pgrehearse.data.value_changes import PHRASES

NOT_CHANGED = frozenset({"became-null", "null-filled"})  # no value became another one
SHOWN = 40  # characters of a value


def column_lines(table: Mapping[str, Any], types: Mapping[str, tuple[str, str]] | None = None) -> list[str]:
    """One line per column that lost something; ``types`` by the column's name where they were changed."""
    lines = []
    for column in table["columns"]:
        parts = [*_lost(column), *_changed(column)]
        if parts:
            name = column["name"] or column["name_after"]
            before, after = (types or {}).get(name, (None, None))
            retyped = f" {before} → {after}" if before and after else ""
            lines.append(f"{name}{retyped}: {', '.join(parts)} ({column['verdict']})")
    return lines


def note_lines(table: Mapping[str, Any]) -> list[str]:
    """What else is to be known: where things went, likes that are still there, orphans, NULLs that were filled."""
    lines = list(_merged(table))
    lines += [_traced(trace) for trace in table.get("traces", ())]
    lines += [
        f"{counted(orphans['rows'], 'row')} of {orphans['child']} ({', '.join(orphans['columns'])}) lost "
        f"{agree(orphans['rows'], 'its', 'their')} parent here"
        for orphans in table.get("orphans", ())
    ]
    for column in table["columns"]:
        for change in column.get("changes", ()):
            if change["kind"] == "null-filled":
                lines.append(f"{column['name']}: {_values(change, column)} {_phrase(change)}")
    return lines


def loss_sentence(table: Mapping[str, Any]) -> str:
    """For a finding, without any value: ``t loses 3 of 9 rows, 4 values of b; 5 of 9 values of c were cut off``."""
    lost = [f"{table['rows_lost']:,} of {counted(table['rows_before'], 'row')}{_rows_found_again(table)}"]
    lost = lost if table["rows_lost"] else []
    lost += [
        f"{counted(column['values_lost'], 'value')} of {column['name']}{_found_again(column, table)}"
        for column in table["columns"]
        if column["values_lost"]
    ]
    where = "" if lost else f" in {table['name']}"
    parts = [f"{table['name']} loses {', '.join(lost)}"] if lost else []
    parts += [
        f"{_values(change, column)} of {column['name']}{where} {_phrase(change)}"
        for column in table["columns"]
        for change in column.get("changes", ())
        if change["kind"] not in NOT_CHANGED and change["kind"] != "changed"
    ]
    plain = [(count, column["name"]) for column in table["columns"] if (count := _plainly(column))]
    if plain:
        values = ", ".join(f"{counted(count, 'value')} of {name}" for count, name in plain)
        others = agree(sum(count for count, _ in plain), "is another value", "are other values")
        parts.append(f"{values}{where} {others} now")
    return "; ".join(parts)


def declaring_lines(table: Mapping[str, Any]) -> list[str]:
    """The lines that declare what is gone and was found again elsewhere, all of it; none where any of it was not."""
    columns = [column for column in table["columns"] if column["values_lost"] or column["values_changed"]]
    gone = table["name_after"] is None
    if table["rows_lost"] > table.get("rows_moved", 0) or not (table["rows_lost"] or columns):
        return []
    if not gone and any(
        column["values_changed"] or column["values_lost"] > column.get("values_moved", 0) for column in columns
    ):
        return []
    if gone:
        return [f"-- pgrehearse: expect drops {table['name']}"]
    rows = [f"-- pgrehearse: expect deletes {table['name']}"] if table["rows_lost"] else []
    return rows + [f"-- pgrehearse: expect drops column {table['name']}.{column['name']}" for column in columns]


def _lost(column: Mapping[str, Any]) -> Iterator[str]:
    if column["values_lost"]:
        yield f"{counted(column['values_lost'], 'value')} lost{_found_again(column)}"


def _found_again(column: Mapping[str, Any], table: Mapping[str, Any] | None = None) -> str:
    """Of a column's values; where, too, where the ``table`` is given."""
    moved = column.get("values_moved", 0)
    if not moved:
        return ""
    places = [
        f"{trace['into']} ({', '.join(trace['into_columns'])})"
        for trace in (table or {}).get("traces", ())
        if trace["proved"] and trace["what"] == "values" and column["name"] in trace["columns"]
    ]
    return f" ({_so_many(moved, column['values_lost'])} found again{_in(places)})"


def _so_many(found: int, sought: int) -> str:
    return "all" if found == sought else f"{found:,}"


def _in(places: Sequence[str]) -> str:
    return f" in {' and '.join(places)}" if places else ""


def _phrase(change: Mapping[str, Any]) -> str:
    """What happened to those values, as it is said of so many."""
    phrase: str = PHRASES[change["kind"]]
    return f"was {phrase.removeprefix('were ')}" if change["values"] == 1 and phrase.startswith("were ") else phrase


def _values(change: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    before = column.get("values_before")
    if before is None or change["kind"] == "null-filled":
        return counted(change["values"], "value")
    return f"{change['values']:,} of {counted(before, 'value')}"


def _plainly(column: Mapping[str, Any]) -> int:
    """Values that changed in no way that has a name."""
    named: int = sum(
        change["values"]
        for change in column.get("changes", ())
        if change["kind"] not in NOT_CHANGED and change["kind"] != "changed"
    )
    changed: int = column["values_changed"] or 0
    return max(0, changed - named)


def _changed(column: Mapping[str, Any]) -> Iterator[str]:
    for change in column.get("changes", ()):
        if change["kind"] not in NOT_CHANGED and change["kind"] != "changed":
            yield f"{_values(change, column)} {_phrase(change)}{_example(change)}"
    if count := _plainly(column):
        found = next((change for change in column.get("changes", ()) if change["kind"] == "changed"), None)
        yield f"{counted(count, 'value')} changed{_example(found) if found else ''}"


def _example(change: Mapping[str, Any]) -> str:
    """``, e.g. id 5: 12.5 → 13``; only a receipt made with --samples holds any."""
    example = change["example"]
    if example is None:
        return ""
    key = ", ".join(f"{name} {_short(value)}" for name, value in example["key"].items())
    return f", e.g. {key + ': ' if key else ''}{_short(example['before'])} → {_short(example['after'])}"


def _short(value: str | None) -> str:
    if value is None:
        return "NULL"
    line = " ".join(value.split()) if value.strip() else repr(value)
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _rows_found_again(table: Mapping[str, Any]) -> str:
    moved, merged = table.get("rows_moved", 0), table.get("rows_merged") or 0
    places = [trace["into"] for trace in table.get("traces", ()) if trace["proved"] and trace["what"] == "rows"]
    told = [f"{_so_many(moved, table['rows_lost'])} found again{_in(list(dict.fromkeys(places)))}"] if moved else []
    told += [f"{merged:,} duplicates merged"] if merged else []
    return f" ({', '.join(told)})" if told else ""


def _merged(table: Mapping[str, Any]) -> Iterator[str]:
    if merged := table.get("rows_merged") or 0:
        yield f"{merged:,} duplicate rows merged: rows like them, but for the key, are still there"


def _traced(trace: Mapping[str, Any]) -> str:
    """``rows found again in public.archive by id: all 10``."""
    by = ", ".join(key if key == other else f"{key} = {other}" for key, other in trace["by"].items())
    if trace["what"] == "rows":
        what, where = "rows", trace["into"]
    else:
        joined = f" joined by {trace['joined_by']}" if trace["joined_by"] else ""
        many = joined if len(trace["columns"]) > 1 else ""
        what = f"values of {', '.join(trace['columns'])}{many}"
        columns = ", ".join(trace["into_columns"])
        where = f"{trace['into']} ({columns}{joined if len(trace['into_columns']) > 1 else ''})"
    every = trace["found"] == trace["sought"]
    count = f"all {trace['found']:,}" if every else f"{trace['found']:,} of {trace['sought']:,}"
    if not trace["proved"]:
        return f"{what} like those in {where} by {by}: {count}, and not taken for found again: {trace['reason']}"
    return f"{what} found again in {where} by {by}: {count}"
