import io
import json
from typing import Any

from rich.console import Console

from pgrehearse.rehearsal.render import HEADLINES, render_markdown, render_text


def as_text(document: dict[str, Any], width: int = 100) -> str:
    out = io.StringIO()
    render_text(document, Console(file=out, width=width, highlight=False))
    return out.getvalue()


def test_the_text_says_verdict_counts_places_and_what_was_not_measured(document: dict[str, Any]) -> None:
    text = as_text(document)
    for said in (
        HEADLINES["loss"], "prd, db.example.com/shop", "as role migrator", "collation version differs",
        "public.t -> public.t2", "48,112 values lost", "drop-column", "db/0001_drop.sql:3", "-- Keep it:", "1234.5",
        "AccessExclusive: public.t", "rewrites public.t", "ERROR 42P01", "failed     money.sql",
        "row-level security hides",
        "subscription s: not restored", document["digest"],
    ):  # fmt: skip
        assert said in text, said


def test_a_table_that_nothing_happened_to_is_not_listed(document: dict[str, Any]) -> None:
    assert "public.calm" not in as_text(document)
    assert "public.calm" not in render_markdown(document)


def test_no_line_is_cut_where_the_terminal_is_narrow(document: dict[str, Any]) -> None:
    words = " ".join(as_text(document, width=40).split())
    assert "row-level security hides rows" in words
    assert document["digest"] in words


def test_statements_of_several_files_are_told_with_their_file(document: dict[str, Any]) -> None:
    file = document["statements"][0]["file"]
    assert f"| `{file}:" not in render_markdown(document)
    document["statements"].append({**document["statements"][0], "file": "db/0002_more.sql", "line": 7})
    assert f"\n  {file}\n" in as_text(document)
    assert as_text(document).count("\n  db/0002_more.sql\n") == 1
    assert "| `db/0002_more.sql:7` |" in render_markdown(document)


def test_samples_are_shown_where_the_receipt_holds_any(document: dict[str, Any]) -> None:
    assert "public.t (id = 5): lost: a: 1" in as_text(document)
    document["receipt"]["samples"][0]["after"] = {"a": "2"}
    assert "public.t (id = 5): a: 1 -> 2" in as_text(document)
    document["receipt"]["samples"] = []
    assert "Samples" not in as_text(document) + render_markdown(document)


def test_markdown_takes_names_as_they_stand(document: dict[str, Any]) -> None:
    markdown = render_markdown(document)
    assert "a\\*b" in markdown
    assert "&lt;b&gt;" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| 3 |")]
    assert rows[0].replace("\\|", "").count("|") == 7  # six cells; the bar in the server's message is escaped


def test_every_verdict_has_a_headline_in_both_forms(document: dict[str, Any]) -> None:
    document["declarations"] = []
    for verdict, headline in HEADLINES.items():
        document["verdict"] = verdict
        assert headline in as_text(document)
        assert headline in render_markdown(document)


def test_a_headline_claims_nothing_of_what_was_not_measured(document: dict[str, Any]) -> None:
    document |= {"verdict": "hazard", "declarations": []}
    assert "HAZARD: nothing is lost, but" in as_text(document)
    document["not_measured"][0]["decisive"] = True
    earlier = json.loads(json.dumps(document))
    del earlier["not_measured"][0]["decisive"]
    earlier["tables"][1]["verdict"] = "unmeasured"
    for each, name in ((document, "table public.secret"), (earlier, "public.calm")):
        for told in (as_text(each).splitlines()[0], render_markdown(each).splitlines()[0]):
            assert told.endswith(f"HAZARD: this plan would hurt; not measured: {name}")


def test_a_hazard_beside_declared_losses_says_both(document: dict[str, Any]) -> None:
    document["verdict"] = "hazard"
    assert "HAZARD: nothing is lost but what the files declare, but this plan would hurt" in as_text(document)


def test_an_empty_rehearsal_renders(document: dict[str, Any]) -> None:
    empty = json.loads(json.dumps(document))
    for key in ("statements", "tables", "findings", "checks", "not_measured", "plan"):
        empty[key] = []
    empty["schema"]["changes"] = []
    assert "nothing pending" in as_text(empty)
    assert "nothing pending" in render_markdown(empty)


def test_the_way_back_is_told_in_one_line(document: dict[str, Any]) -> None:
    said = (
        "restorable with before-images of public.t (columns-dropped, 50,000 rows); proved on the clone: "
        "down in 1.25 s, up again in 0.08 s; the columns of public.t come back in another order"
    )
    assert said in as_text(document)
    document["rollback"] |= {"type": "loses-writes", "proved": False, "reasons": ["the schema differs"]}
    assert "loses-writes; the schema differs" in as_text(document)
