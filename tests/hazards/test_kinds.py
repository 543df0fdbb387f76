"""No kind of statement is passed over in silence; the list of kinds is the parser's own."""

import pytest
from pglast import ast

from pgrehearse.hazards.kinds import HARMLESS, LOOKED_INTO, NOT_VISIBLE, why_not_visible
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.hazards.predict import has_rule
from pgrehearse.hazards.statement_locks import locks_are_known
from pgrehearse.migrations.migration import Migration, SourceKind

# Nodes that end in Stmt and are no statements of their own: the parser's wrapper, PL/pgSQL's, and parts of others.
PARTS = {"PLAssignStmt", "RawStmt", "ReplicaIdentityStmt", "ReturnStmt", "SetOperationStmt"}
KINDS = sorted(
    name for name in vars(ast) if name.endswith("Stmt") and issubclass(getattr(ast, name), ast.Node)
)  # fmt: skip


def lint(text: str) -> LintResult:
    return lint_files([Migration(version="x", name="x", path="x.sql", kind=SourceKind.AD_HOC, content=text.encode())])


def judged(kind: str) -> bool:
    return has_rule(kind) or locks_are_known(kind)


def test_the_parsers_list_was_read() -> None:
    assert len(KINDS) > 110
    assert set(KINDS) >= PARTS


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PARTS])
def test_a_kind_is_judged_or_harmless_or_told(kind: str) -> None:
    assert [judged(kind), kind in HARMLESS, kind in NOT_VISIBLE, kind in LOOKED_INTO].count(True) == 1


def test_the_lists_name_no_kind_that_there_is_not() -> None:
    assert set(HARMLESS) | set(NOT_VISIBLE) | LOOKED_INTO <= set(KINDS)


def test_a_kind_of_a_later_parser_is_told() -> None:
    assert why_not_visible("ForkPropertyGraphStmt", judged=False) == (
        "a statement that lint does not know (ForkPropertyGraph)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "ALTER ROLE app NOLOGIN",
        "ALTER DATABASE shop SET default_transaction_read_only TO on",
        "ALTER EXTENSION postgis UPDATE",
        "ALTER FUNCTION price(int) SECURITY DEFINER",
        "ALTER TABLE ALL IN TABLESPACE fast SET TABLESPACE slow",
        "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p",
        "CREATE CAST (text AS int) WITH INOUT AS IMPLICIT",
        "IMPORT FOREIGN SCHEMA s FROM SERVER r INTO public",
        "DO $$ BEGIN IF true THEN EXECUTE 'ALTER ROLE app NOLOGIN'; END IF; END $$",
    ],
)
def test_what_has_no_rule_says_so(text: str) -> None:
    result = lint(text)
    assert len(result.not_visible) == 1
    assert result.not_visible[0].line == 1


@pytest.mark.parametrize(
    "text", ["CREATE EXTENSION citext", "CREATE ROLE app", "SHOW work_mem", "NOTIFY jobs", "CHECKPOINT"]
)
def test_what_does_no_harm_says_nothing(text: str) -> None:
    assert lint(text).not_visible == ()
