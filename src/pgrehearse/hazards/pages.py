"""A page for each hazard, from its record and its scripts, and the list of them all.

``python -m pgrehearse.hazards.pages docs`` (`make hazard-pages`) writes them; a test holds that they are up to date.
"""

import sys
from pathlib import Path
from typing import Any

from pgrehearse.hazards.catalogue import CATALOGUE, SECTIONS, Hazard
from pgrehearse.hazards.examples import Example, for_tests, shown

INTRODUCTION = """\
# Hazards

What a migration may do to data, to the running application and to those who wait for a lock. `pgrehearse lint` tells
it from a file's text, with `--against ENV` from the database's own tables too; `pgrehearse run` says what really
happened. `pgrehearse explain HAZARD` prints a page. The pages are written by `make hazard-pages`.

`error`: values are lost, the running application breaks, the migration fails, or a table is rewritten. `warning`:
others wait, for as long as the table is large. `info`: short locks, matters of style and policy; as text, lint shows
those only with `--level info`. The level stands for the certain case: what only a catalog can decide says so, and is
a warning at most until `--against` has looked. Those of the last section only a rehearsal can find.

## Accepting a finding

```sql
-- pgrehearse: allow drop-column because nothing has read it since 2.4
ALTER TABLE users DROP COLUMN nick;
```

On a line of its own the comment speaks of the next statement, or of the one that it stands in; behind a statement, of
that one. Several hazards are separated by commas. Without a reason, or with a hazard that there is not, it is an
error (exit code 2); one that allows what is not found there is told. It silences what is *predicted*, in `lint` and
in the findings of a rehearsal; what a rehearsal observes (values that went, a statement that failed) is told all the
same.

For a whole project, `[lint]` in [the configuration](configuration.md#lint) ignores hazards or gives them another
level. For migrations that were written before anybody looked, `pgrehearse lint --baseline lint-baseline.json
--write-baseline` accepts what is there today; from then on `--baseline lint-baseline.json` (or `[lint] baseline`)
passes over it. A finding is known again by its file, hazard, table and the text of its statement.

What is accepted is not thrown away: the JSON answer has it under `suppressed`, SARIF as suppressed results.

## What `--against` asks the database

It reads the catalogs, and asks whether a NULL, a duplicate or an orphan stands in the way: queries of at most a second,
read-only, with the constants that stand in the files. Queries of the files themselves (SELECT, INSERT, UPDATE, DELETE,
MERGE, a view's) are given to the server's parse analysis with `PREPARE`, which runs nothing and takes no lock that
stays, as long as no statement before them in the plan did anything but read and write rows. On a standby, and for a
role that may not use every schema, that is not asked. No value is told of what is refused; but the server's log may
hold the refused statement with its values (`log_min_error_statement`), as it would if the migration had failed there,
and any that was asked where it logs statements (`log_statement`).
Only a superuser's session keeps it out, and does.
"""

_LOOK = "Only a look at the database can tell: `pgrehearse lint --against ENV`."
_ONLY_BY = {"catalog": _LOOK, "size": _LOOK, "rehearsal": "Only a rehearsal can tell: `pgrehearse run`."}


def page_of(hazard: Hazard) -> str:
    """The hazard's page in Markdown."""
    example = Example.read(hazard.id)
    finding = example.finding()
    message = finding.message if finding is not None else hazard.message({})
    remedy = finding.remedy if finding is not None else hazard.safe_way({})
    classes = ", ".join(each.value for each in hazard.classes)
    lines = [f"# {hazard.id}", "", f"{_sentence(message)}", ""]
    lines += ["| | |", "| --- | --- |", f"| level | {hazard.level.value} |", f"| classes | {classes} |"]
    if hazard.since is not None:
        lines.append(f"| since | PostgreSQL {hazard.since} |")
    if hazard.until is not None:
        lines.append(f"| until | PostgreSQL {hazard.until} |")
    lines += [f"| source | {hazard.source} |", ""]
    for title, script in (("Found", example.bad), ("Not found", example.good)):
        lines += [f"## {title}", "", "```sql", shown(script), "```", ""]
        if title == "Found" and "needs" in for_tests(script):
            lines += [_ONLY_BY[for_tests(script)["needs"]], ""]
    lines += ["## The safe way", "", "```sql", remedy, "```", ""]
    return "\n".join(lines)


def index() -> str:
    """The list of all pages, section by section."""
    lines = [INTRODUCTION]
    for section, hazards in SECTIONS.items():
        lines += [f"## {section}", "", "| hazard | level | classes |", "| --- | --- | --- |"]
        for hazard in hazards:
            classes = ", ".join(each.value for each in hazard.classes)
            lines.append(f"| [{hazard.id}](hazards/{hazard.id}.md) | {hazard.level.value} | {classes} |")
        lines.append("")
    return "\n".join(lines)


def as_json(hazards: tuple[Hazard, ...]) -> dict[str, Any]:
    """As `explain.schema.json` has it; texts with ``<gaps>`` where a finding has the user's own names."""
    told = []
    for hazard in hazards:
        example = Example.read(hazard.id)
        told.append(
            {
                "id": hazard.id,
                "classes": [each.value for each in hazard.classes],
                "level": hazard.level.value,
                "effect": hazard.message({}),
                "remedy": hazard.safe_way({}),
                "since": hazard.since,
                "until": hazard.until,
                "source": hazard.source,
                "found": shown(example.bad),
                "not_found": shown(example.good),
            }
        )
    return {"format": 1, "hazards": told}


def write_pages(docs: Path) -> None:
    """Write `hazards.md` and `hazards/ID.md`; pages of hazards that are no more are removed."""
    folder = docs / "hazards"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in CATALOGUE:
            old.unlink()
    for hazard in CATALOGUE.values():
        (folder / f"{hazard.id}.md").write_text(page_of(hazard), encoding="utf-8")
    (docs / "hazards.md").write_text(index(), encoding="utf-8")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
