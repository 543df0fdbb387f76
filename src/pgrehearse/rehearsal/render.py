"""A receipt as a person reads it: a terminal's text, or Markdown for a pull request's comment.

Both are made from the document alone, so a receipt of last month reads as it did then.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from pgrehearse.rehearsal.loss_text import column_lines, note_lines
from pgrehearse.rehearsal.render_contention import HEAD as CONTENTION_HEAD
from pgrehearse.rehearsal.render_contention import (
    contention_lines,
    contention_rows,
    contention_title,
    contention_told,
    forecast_title,
    forecast_told,
)
from pgrehearse.rehearsal.render_proof import proof_told
from pgrehearse.rehearsal.render_queries import HEAD as QUERY_HEAD
from pgrehearse.rehearsal.render_queries import SHOWN_QUERIES, query_lines, query_rows, query_summary

Document = Mapping[str, Any]

HEADLINES = {
    "clean": "CLEAN: the plan ran on the clone and nothing was lost",
    "loss": "LOSS: this plan would lose data",
    "hazard": "HAZARD: nothing is lost, but this plan would hurt",  # where all of it was measured
    "failed": "FAILED: the plan did not run through",
    "unmeasured": "NOT MEASURED: something that matters could not be looked at",
}
BUT_DECLARED = "but what the files declare"
STYLES = {"clean": "bold green", "loss": "bold red", "hazard": "bold yellow", "failed": "bold red"}
LEVEL_STYLES = {"error": "red", "warning": "yellow", "info": "dim"}
SHOWN_STATEMENTS = 40
SHOWN_TABLES = 40
SHOWN_NAMES = 5
SQL_WIDTH = 72
NAME_WIDTH = 60


def render_text(document: Document, console: Console) -> None:
    """Print the receipt to a terminal or a file; colours only where the console has them."""
    verdict = document["verdict"]
    console.print(Text(_headline(document), style=STYLES.get(verdict, "bold")))
    for label, value in _facts(document):
        console.print(Text.assemble((f"  {label:<9}", "dim"), value), soft_wrap=True)
    _text_losses(document, console)
    _text_findings(document, console)
    _text_statements(document, console)
    if summary := query_summary(document["queries"]):
        _heading(console, f"Queries ({summary})")
        for line, style in query_lines(document["queries"]):
            console.print(Text(line, style=style), soft_wrap=True)
    contention = document["contention"]
    if told := contention_told(contention):
        _heading(console, contention_title(contention))
        for row in (*told, *contention_lines(contention)):
            console.print(f"  {escape(row)}", soft_wrap=True)
    if told := forecast_told(contention):
        _heading(console, forecast_title(contention))
        for row in told:
            console.print(f"  {escape(row)}", soft_wrap=True)
    for title, rows in (
        ("Declared", _declarations(document)),
        ("Samples of changed rows", _samples(document)),
        ("Schema changes", _schema_changes(document)),
        ("Checks", _checks(document)),
    ):
        if rows:
            _heading(console, title)
            for row in rows:
                console.print(f"  {escape(row)}", soft_wrap=True)
    if document["not_measured"]:
        _heading(console, "Not measured")
        for entry in document["not_measured"]:
            console.print(f"  {escape(entry['what'])}: {escape(entry['reason'])}", soft_wrap=True)


def _headline(document: Document) -> str:
    """What is declared is lost all the same, and meant; of what was not measured nobody knows whether it is lost."""
    verdict = document["verdict"]
    if verdict == "hazard" and (unmeasured := _decisive(document)):
        more = f" and {len(unmeasured) - SHOWN_NAMES} more" if len(unmeasured) > SHOWN_NAMES else ""
        return f"HAZARD: this plan would hurt; not measured: {', '.join(unmeasured[:SHOWN_NAMES])}{more}"
    headline = HEADLINES[verdict]
    meant = [each for each in document.get("declarations", []) if each["outcome"] == "as-declared" and each["count"]]
    if not any(each["verb"] != "inserts" for each in meant):
        return headline
    if verdict == "hazard":
        return headline.replace("nothing is lost,", f"nothing is lost {BUT_DECLARED},")
    return f"{headline} {BUT_DECLARED}" if verdict == "clean" else headline


def _decisive(document: Document) -> list[str]:
    """What was not measured and would keep a verdict from being clean; earlier receipts tell it of tables alone."""
    entries = [entry["what"] for entry in document["not_measured"] if entry.get("decisive")]
    return entries or [_followed_name(table) for table in document["tables"] if table["verdict"] == "unmeasured"]


def render_markdown(document: Document) -> str:
    """The receipt as GitHub-flavoured Markdown."""
    return "\n".join(_markdown_lines(document)) + "\n"


# --- what both say -------------------------------------------------------------------------------------------


def _facts(document: Document) -> list[tuple[str, str]]:
    source, clone, grade = document["source"], document["clone"], document["grade"]
    name = f"{source['environment']}, " if source["environment"] else ""
    lsn = f", LSN {source['lsn']}" if source["lsn"] else ""
    duration = sum(statement["duration_ms"] for statement in document["statements"]) / 1000
    versions = ", ".join(migration["version"] for migration in document["plan"]) or "nothing pending"
    facts = [
        ("source", f"{name}{source['address']}, PostgreSQL {source['server_version']}{lsn}, {source['taken_at']}"),
        ("clone", f"{clone['address']} by {clone['provider']}, as role {document['role'] or 'unknown'}"),
        ("grade", "full" if grade["full"] else "less than full: " + "; ".join(grade["why_not"])),
        ("plan", f"{versions} ({_count(len(document['statements']), 'statement')}, {duration:.2f} s)"),
    ]
    if clone["switched_off"]:
        facts.append(("inert", "; ".join(clone["switched_off"])))
    if (told := proof_told(document)) is not None:
        facts.append(("data", told))
    facts.append(("way back", _way_back(document["rollback"])))
    facts.append(("receipt", document["digest"]))
    return facts


def _way_back(rollback: Mapping[str, Any]) -> str:
    parts = [rollback["type"]]
    if rollback["proved"]:
        if rollback["before_images"]:
            images = rollback["before_images"]
            more = f" and {len(images) - SHOWN_NAMES} more" if len(images) > SHOWN_NAMES else ""
            parts[0] += " with before-images of " + ", ".join(map(_image, images[:SHOWN_NAMES])) + more
        again = "" if rollback["up_again_ms"] is None else f", up again in {rollback['up_again_ms'] / 1000:.2f} s"
        parts.append(f"proved on the clone: down in {rollback['down_ms'] / 1000:.2f} s{again}")
    return "; ".join([*parts, *rollback["reasons"], *rollback["left_behind"]])


def _image(image: Mapping[str, Any]) -> str:
    return f"{image['relation']} ({image['why']}, {_count(image['rows'], 'row')})"


def _changed_tables(document: Document) -> list[Mapping[str, Any]]:
    return [
        table for table in document["tables"]
        if table["verdict"] != "unchanged" or column_lines(table) or note_lines(table)
    ]  # fmt: skip


def _retyped(document: Document, table: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Types before and after, by the column's name before."""
    return {
        change["name"].removeprefix(f"{table['name']}."): (change["before"], change["after"])
        for change in document["schema"]["changes"]
        if change["kind"].endswith("column") and change["attribute"] == "type" and change["relation"] == table["name"]
    }


def _followed_name(table: Mapping[str, Any]) -> str:
    if table["name"] and table["name_after"] and table["name"] != table["name_after"]:
        return f"{table['name']} -> {table['name_after']}"
    return str(table["name"] or table["name_after"])


def _schema_changes(document: Document) -> list[str]:
    signs = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}
    rows = []
    for change in document["schema"]["changes"]:
        row = f"{signs[change['effect']]} {change['kind']} {change['name']}"
        if change["effect"] == "renamed":
            row += f" -> {change['after']}"
        elif change["attribute"]:
            row += f" {change['attribute']}: {_short(change['before'])} -> {_short(change['after'])}"
        rows.append(row)
    return rows


def _samples(document: Document) -> list[str]:
    """Only a receipt made with --samples holds any."""
    rows = []
    for sample in document.get("receipt", {}).get("samples", []):
        key = ", ".join(f"{name} = {value}" for name, value in sample["key"].items())
        after = sample["after"]
        changes = [
            f"{name}: {_short(value, 40)}" + (f" -> {_short(after.get(name), 40)}" if after is not None else "")
            for name, value in sample["before"].items()
        ]
        rows.append(f"{sample['table']} ({key}): {'lost: ' if after is None else ''}{', '.join(changes)}")
    return rows


def _of_several_files(document: Document) -> bool:
    """Whether a line's number alone would not say where a statement stands."""
    return len({statement["file"] for statement in document["statements"]}) > 1


def _statements_with_rows(document: Document) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each statement with the rows that the server reported for it, as text; empty where it reports none."""
    counts = document.get("receipt", {}).get("statement_rows", [])
    for number, statement in enumerate(document["statements"]):
        rows = counts[number] if number < len(counts) else None
        yield statement, "" if rows is None else f"{rows:,}"


def _declarations(document: Document) -> list[str]:
    """What the files declare, and what became of it; receipts of earlier versions have none."""
    return [
        f"{each['outcome']:<14} {each['file']}:{each['line']}: {each['detail']} ({each['text']})"
        for each in document.get("declarations", [])
    ]


def _checks(document: Document) -> list[str]:
    return [f"{check['verdict']:<10} {check['name']}: {check['detail']}" for check in document["checks"]]


def _locks_by_mode(statement: Mapping[str, Any]) -> list[str]:
    """One line per lock mode: ``AccessExclusive: public.a, public.b and 3 more``."""
    by_mode: dict[str, list[str]] = {}
    for name, mode in statement["locks"].items():
        by_mode.setdefault(mode.removesuffix("Lock"), []).append(name)
    return [
        f"{mode}: {', '.join(names[:SHOWN_NAMES])}"
        + (f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else "")
        for mode, names in by_mode.items()
    ]


def _effects(statement: Mapping[str, Any]) -> str:
    parts = []
    if statement["rewrites"]:
        parts.append("rewrites " + ", ".join(statement["rewrites"]))
    if statement["scans_under_lock"]:
        parts.append("scans under lock " + ", ".join(statement["scans_under_lock"]))
    if statement["error"]:
        parts.append(f"ERROR {statement['error']['sqlstate']}: {statement['error']['message']}")
    return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _number(value: int | None) -> str:
    return "not measured" if value is None else f"{value:,}"


def _short(text: str | None, width: int = SQL_WIDTH) -> str:
    if text is None:
        return "none"
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


# --- terminal -------------------------------------------------------------------------------------------------


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _text_losses(document: Document, console: Console) -> None:
    tables = _changed_tables(document)
    if not tables:
        return
    _heading(console, "Tables")
    width = min(max(len(_followed_name(table)) for table in tables[:SHOWN_TABLES]), NAME_WIDTH)
    heads = ("table".ljust(width), "verdict".ljust(14), "rows before", "rows after", "rows lost")
    console.print(Text("  " + "  ".join(heads), style="dim"), soft_wrap=True)
    for table in tables[:SHOWN_TABLES]:
        console.print(
            Text.assemble(
                f"  {_followed_name(table):<{width}}  {table['verdict']:<14}"
                f"  {_number(table['rows_before']):>11}  {_number(table['rows_after']):>10}  ",
                (f"{_number(table['rows_lost']):>9}", "red" if table["rows_lost"] else ""),
            ),
            soft_wrap=True,
        )
        for hurt in column_lines(table, _retyped(document, table)):
            console.print(Text(f"      {hurt}", style="red"), soft_wrap=True)
        for note in note_lines(table):
            console.print(Text(f"      {note}", style="yellow"), soft_wrap=True)
    _tell_rest(console, len(tables) - SHOWN_TABLES, "table")


def _text_findings(document: Document, console: Console) -> None:
    if not document["findings"]:
        return
    _heading(console, "Findings")
    shown: set[str] = set()  # the remedy of a hazard is written out once; the JSON has each with its own names
    for finding in document["findings"]:
        place = f"{finding['file']}:{finding['line']}" if finding["file"] else finding["relation"] or ""
        head = Text.assemble(
            "  ", (f"{finding['level']:<8}", LEVEL_STYLES[finding["level"]]), (finding["hazard"], "bold"), f"  {place}"
        )
        head.append(f"  ({finding['evidence']})", style="dim")
        console.print(head, soft_wrap=True)
        console.print(Text(f"          {finding['message']}"), soft_wrap=True)
        if finding["hazard"] in shown:
            continue
        shown.add(finding["hazard"])
        for number, line in enumerate(finding["remedy"].splitlines()):
            console.print(Text(f"          {'->' if number == 0 else '  '} {line}", style="dim"), soft_wrap=True)


def _text_statements(document: Document, console: Console) -> None:
    if not document["statements"]:
        return
    _heading(console, "Statements")
    console.print(Text(f"  {'line':>5} {'ms':>10} {'rows':>9}", style="dim"))
    several, file = _of_several_files(document), None
    for statement, rows in list(_statements_with_rows(document))[:SHOWN_STATEMENTS]:
        if several and statement["file"] != file:
            file = statement["file"]
            console.print(Text(f"  {file}", style="dim"), soft_wrap=True)
        head = f"  {statement['line']:>5} {statement['duration_ms']:>10.1f} {rows:>9}  {_short(statement['sql'])}"
        console.print(Text(head), soft_wrap=True)
        for line in _locks_by_mode(statement):
            console.print(Text(f"{'':30}{line}", style="dim"), soft_wrap=True)
        if _effects(statement):
            console.print(Text(f"{'':30}{_effects(statement)}", style="yellow"), soft_wrap=True)
    _tell_rest(console, len(document["statements"]) - SHOWN_STATEMENTS, "statement")


def _tell_rest(console: Console, rest: int, noun: str) -> None:
    if rest > 0:
        console.print(f"  … and {_count(rest, f'more {noun}')}; all of them are in the JSON", style="dim")


# --- Markdown --------------------------------------------------------------------------------------------------


def _markdown_lines(document: Document) -> Iterator[str]:
    yield f"### pgrehearse: {_headline(document)}"
    yield ""
    for label, value in _facts(document):
        yield f"- **{label}** {_code_free(value)}"
    yield from _markdown_table(
        "Tables",
        ("table", "verdict", "rows before", "rows after", "rows lost", "columns"),
        [
            (
                f"`{_followed_name(table)}`",
                table["verdict"],
                _number(table["rows_before"]),
                _number(table["rows_after"]),
                f"**{table['rows_lost']:,}**" if table["rows_lost"] else _number(table["rows_lost"]),
                "<br>".join(map(_code_free, [*column_lines(table, _retyped(document, table)), *note_lines(table)])),
            )
            for table in _changed_tables(document)
        ],
    )
    if document["findings"]:
        yield from ("", "**Findings**", "")
        for finding in document["findings"]:
            place = f"`{finding['file']}:{finding['line']}` " if finding["file"] else ""
            message = _code_free(finding["message"])
            yield f"- {finding['level']} `{finding['hazard']}` {place}{message} ({finding['evidence']})"
            yield f"  - {_code_free(_short(finding['remedy'], 300))}"
    yield from _markdown_table(
        "Statements",
        ("line", "ms", "rows", "statement", "locks", "effects"),
        [
            (
                f"`{statement['file']}:{statement['line']}`" if _of_several_files(document) else str(statement["line"]),
                f"{statement['duration_ms']:.1f}",
                rows,
                f"`{_short(statement['sql']).replace('`', '')}`",
                "<br>".join(map(_code_free, _locks_by_mode(statement))),
                _code_free(_effects(statement)),
            )
            for statement, rows in list(_statements_with_rows(document))[:SHOWN_STATEMENTS]
        ],
    )
    if summary := query_summary(document["queries"]):
        table = [tuple(map(_code_free, row)) for row in query_rows(document["queries"])[:SHOWN_QUERIES]]
        yield from _markdown_table(f"Queries ({summary})", QUERY_HEAD, table)
    contention = document["contention"]
    if told := contention_told(contention):
        yield from ("", f"**{contention_title(contention)}**: {_code_free('; '.join(told))}")
        table = [tuple(map(_code_free, row)) for row in contention_rows(contention)]
        yield from _markdown_table("What others felt", CONTENTION_HEAD, table)
    if told := forecast_told(contention):
        yield from ("", f"**{_code_free(forecast_title(contention))}**", "")
        yield from (f"- {_code_free(row)}" for row in told)
    for title, rows in (
        ("Declared", _declarations(document)),
        ("Samples of changed rows", _samples(document)),
        ("Schema changes", _schema_changes(document)),
        ("Checks", _checks(document)),
        ("Not measured", [f"{entry['what']}: {entry['reason']}" for entry in document["not_measured"]]),
    ):
        if rows:
            yield from ("", f"<details><summary>{title} ({len(rows)})</summary>", "")
            yield from (f"- {_code_free(row)}" for row in rows)
            yield from ("", "</details>")


def _markdown_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"**{title}**", "")
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _code_free(text: str) -> str:
    """Text that Markdown and HTML take as it stands."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*").replace("_", "\\_")
