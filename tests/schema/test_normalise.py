"""Normal forms by themselves: which texts are one, which must stay two."""

import pytest

from pgrehearse.schema.normalise import normal_form

ONE = [
    (
        "(v)::text = ANY ((ARRAY['a'::varchar, 'b'::varchar])::text[])",
        "(v)::text = ANY (ARRAY[('a'::varchar)::text, ('b'::varchar)::text])",
    ),
    ("(ARRAY[ARRAY[a, b], ARRAY[c, d]])::text[]", "ARRAY[ARRAY[(a)::text, (b)::text], ARRAY[(c)::text, (d)::text]]"),
    ("(ARRAY['a'::text])::varchar(3)[]", "ARRAY[('a'::text)::varchar(3)]"),
    ("((a AND b) AND c)", "(a AND b AND c)"),
    ("(a OR (b OR (c OR d)))", "(a OR b OR c OR d)"),
    ("(f(a AND (b AND c)) OR d)", "f(((a AND b) AND c)) OR d"),
    ("EXISTS ( SELECT 'x'::text AS text FROM t)", "EXISTS ( SELECT 'x'::text FROM t)"),
    ("(a IN ( SELECT 1 AS one UNION SELECT 2 AS two))", "(a IN ( SELECT 1 UNION SELECT 2))"),
]
TWO = [
    ("(v)::text = ANY ((ARRAY['a'::varchar])::text[])", "(v)::text = ANY ((ARRAY['a'::varchar])::name[])"),
    ("(v)::text = ANY ((ARRAY['a'::varchar])::text[])", "(v)::text <> ALL ((ARRAY['a'::varchar])::text[])"),
    ("(ARRAY['a'])::varchar(3)[]", "(ARRAY['a'])::varchar(4)[]"),
    ("ARRAY['a', 'b']", "ARRAY['b', 'a']"),
    ("ARRAY[]::text[]", "ARRAY[]::varchar[]"),
    ("(a AND b) OR c", "a AND (b OR c)"),
    ("a AND b", "a OR b"),
    ("a AND b", "b AND a"),
    ("a AND NOT (b AND c)", "a AND b AND c"),
    ("EXISTS ( SELECT 'x' FROM t)", "EXISTS ( SELECT 'x' FROM u)"),
    ("(SELECT a FROM (SELECT b AS a FROM t) q)", "(SELECT a FROM (SELECT b AS c FROM t) q)"),
    ("'x AND y'", "'y AND x'"),
    ("('A AND b')", "('a AND b')"),
]


@pytest.mark.parametrize(("left", "right"), ONE)
def test_texts_that_mean_the_same_have_one_form(left: str, right: str) -> None:
    assert normal_form(left, "expression") == normal_form(right, "expression")
    assert normal_form(left, "expression") is not None


@pytest.mark.parametrize(("left", "right"), TWO)
def test_texts_that_may_differ_keep_two_forms(left: str, right: str) -> None:
    assert normal_form(left, "expression") != normal_form(right, "expression")


def test_text_without_anything_to_rewrite_is_compared_as_it_stands() -> None:
    assert normal_form("(a > 0)", "expression") is None


def test_text_that_the_parser_refuses_is_compared_as_it_stands() -> None:
    assert normal_form("this is AND not SQL", "expression") is None


def test_a_deep_expression_does_not_break_the_reader() -> None:
    deep = "(" * 2000 + "a" + " AND b)" * 2000
    assert (
        normal_form(deep, "expression") == normal_form("a" + " AND b" * 2000, "expression")
        or normal_form(deep, "expression") is None
    )
