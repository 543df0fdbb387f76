"""What a file can declare, and how each mistake is told with its place."""

import pytest

from pgrehearse.errors import MalformedExpectation
from pgrehearse.hazards.lint import lint_files
from pgrehearse.migrations.expectation import Bound, Expectation, Verb
from pgrehearse.migrations.expectations import parse_expectations
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import split_file


def migration(text: str, kind: SourceKind = SourceKind.AD_HOC) -> Migration:
    return Migration(version="0001", name="m", path="db/m.sql", kind=kind, content=text.encode())


def read(text: str, kind: SourceKind = SourceKind.AD_HOC) -> tuple[Expectation, ...]:
    file = migration(text, kind)
    return parse_expectations(file, split_file(file.content, path=file.path, kind=kind))


def one(declared: str) -> Expectation:
    (found,) = read(f"-- pgrehearse: expect {declared}\nSELECT 1;")
    return found


@pytest.mark.parametrize(
    ("declared", "verb", "relation", "column", "condition", "bound"),
    [
        ("deletes sessions <= 2%", Verb.DELETES, ("sessions",), None, None, "<= 2%"),
        ("deletes Sessions", Verb.DELETES, ("sessions",), None, None, None),
        ('updates "Odd ""T"."X.y" < 1,200 rows', Verb.UPDATES, ('Odd "T', "X.y"), None, None, "< 1,200 rows"),
        ("inserts app.t between 1% and 5%", Verb.INSERTS, ("app", "t"), None, None, "between 1% and 5%"),
        ("truncates t within 10%", Verb.TRUNCATES, ("t",), None, None, "within 10%"),
        ("drops table users;", Verb.DROPS, ("users",), None, None, None),
        ("drops column app.users.Nick", Verb.DROPS_COLUMN, ("app", "users"), "nick", None, None),
        ('changes "T"."C" = 12 values', Verb.CHANGES, ("T",), "C", None, "= 12 values"),
        ("deletes t where a < now()", Verb.DELETES, ("t",), None, "a < now()", None),
        ("deletes t where a < now() <= 2%", Verb.DELETES, ("t",), None, "a < now()", "<= 2%"),
        ("updates t where tries <= 5", Verb.UPDATES, ("t",), None, "tries <= 5", None),
        ("updates t where tries <= 5 <= 7 rows", Verb.UPDATES, ("t",), None, "tries <= 5", "<= 7 rows"),
        ("deletes t where a between 1 and 5", Verb.DELETES, ("t",), None, "a between 1 and 5", None),
        ("deletes t where n = '5%'", Verb.DELETES, ("t",), None, "n = '5%'", None),
    ],
)
def test_everything_that_can_be_declared_is_read(
    declared: str, verb: Verb, relation: tuple[str, ...], column: str | None, condition: str | None, bound: str | None
) -> None:
    found = one(declared)
    assert (found.verb, found.relation, found.column, found.condition) == (verb, relation, column, condition)
    assert (found.bound.text if found.bound is not None else None) == bound


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("destroys t", "cannot read what is expected"),
        ("deletes", "cannot read what is expected"),
        ("deletes my-table", "cannot read the name"),
        ("deletes a.b.c", "a table is named"),
        ("changes t", "a column is named"),
        ("deletes t soon", "cannot read how many"),
        ("deletes t <= 900%", "more than 100% bounds nothing"),
        ("deletes t <= 0%", "nothing at all is no expectation"),
        ("deletes t < 1 row", "nothing at all is no expectation"),
        ("deletes t between 5 and 3 rows", "the smaller number comes first"),
        ("deletes t <= 1.5 rows", "rows are whole"),
        ("inserts t where a", "`inserts` takes no condition"),
        ("drops t <= 2", "`drops` takes nothing but a name"),
        ("deletes t where", "the condition is not SQL"),
        ("deletes t where a); DROP TABLE x; --", "the condition is not SQL"),
        ("deletes t where a) UNION SELECT FROM u WHERE (b", "the condition is not SQL"),
        ("deletes t where a) LIMIT (1", "the condition is not SQL"),
        ("deletes t where true) or (1=1", "the condition is not SQL"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_a_way_out(line: str, says: str) -> None:
    with pytest.raises(MalformedExpectation, match=rf"^db/m.sql:2:1: {says}") as caught:
        read(f"SELECT 1;\n-- pgrehearse: expect {line}\nSELECT 2;")
    assert caught.value.exit_code == 2
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1; -- pgrehearse: expect deletes t",
        "SELECT\n-- pgrehearse: expect deletes t\n1;",
        "/* pgrehearse: expect deletes t */ SELECT 1;",
        "-- PgRehearse expects deletes t\nSELECT 1;",
        "-- pgrehearse: expects deletes t\nSELECT 1;",
        "SELECT 1;\n-- pgrehearse: expect deletes t\n",
    ],
)
def test_what_is_meant_as_a_declaration_is_never_passed_over(text: str) -> None:
    with pytest.raises(MalformedExpectation, match=r"^db/m.sql:\d:1: "):
        read(text)


def test_text_inside_of_a_string_or_of_a_body_declares_nothing() -> None:
    assert read("SELECT '\n-- pgrehearse: expect x\n';\nDO $$ BEGIN\n-- pgrehearse: expect x\nEND $$;") == ()


def test_lint_tells_a_mistake_too() -> None:
    with pytest.raises(MalformedExpectation, match=r"^db/m.sql:1:1: more than 100%"):
        lint_files([migration("-- pgrehearse: expect deletes t <= 900%\nDELETE FROM t WHERE a;")])


def test_it_speaks_of_the_statements_below_it_and_drizzle_files_have_it_between_breakpoints() -> None:
    text = (
        "\ufeffCREATE TABLE t ();\r\n--> statement-breakpoint\r\n-- pgrehearse: expect inserts t\r\n"
        "INSERT INTO t DEFAULT VALUES;--> statement-breakpoint\r\nSELECT 1;"
    )
    (found,) = read(text, SourceKind.DRIZZLE_JOURNAL)
    assert (found.line, found.place) == (3, "db/m.sql:3")
    assert [found.covers("0001", index) for index in range(3)] == [False, True, True]
    assert not found.covers("0002", 2)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("public.t", True), ("app.t", True), ('app."T"', False), ('"a.t".u', False), ("public.at", False)],
)
def test_a_name_without_its_schema_means_the_relation_in_any(name: str, meant: bool) -> None:
    assert one("deletes T").speaks_of(name) is meant
    assert one('deletes "t"').speaks_of(name) is meant


@pytest.mark.parametrize(
    ("text", "rehearsed", "here", "tolerated"),
    [
        ("<= 2%", 100, 102, True),
        ("<= 2%", 100, 103, False),
        ("<= 2%", 100, 97, False),
        ("< 2%", 100, 102, False),
        ("within 2%", 100, 98, True),
        ("within 5 rows", 100, 105, True),
        ("within 5 rows", 100, 106, False),
        ("<= 105 rows", 100, 105, True),
        ("<= 105 rows", 100, 106, False),
        ("<= 105", 100, 0, True),
        ("= 100 rows", 100, 101, False),
        ("between 90 and 110 rows", 100, 89, False),
        ("between 90 and 110 rows", 100, 110, True),
        ("between 10% and 20%", 100, 200, True),
        ("between 10% and 20%", 100, 201, False),
    ],
)
def test_how_far_production_may_differ(text: str, rehearsed: int, here: int, tolerated: bool) -> None:
    """Of a table with 1,000 rows."""
    bound = one(f"deletes t {text}").bound
    assert bound is not None
    assert bound.tolerates(rehearsed, here, drift=0, rehearsed=rehearsed, rows_before=1000) is tolerated


def test_several_statements_share_a_number_of_rows() -> None:
    bound = one("deletes t <= 100 rows").bound
    assert isinstance(bound, Bound)
    assert bound.tolerates(40, 50, drift=0, rehearsed=90, rows_before=0)
    assert not bound.tolerates(50, 60, drift=10, rehearsed=90, rows_before=0)
