"""Secrets are struck out of messages, and the messages stay what they were otherwise."""

import pytest

from pgrehearse.postgres.connect import scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.hidden import hide
from pgrehearse.rehearsal.checks import scrubbed_environment

PLAIN = 'connection to server on socket "/run/my": FATAL: password authentication failed for user "y"'


@pytest.mark.parametrize("address", ["service=x password=y", "postgresql://y:y@h/shop", "host=h password=e"])
def test_a_short_password_leaves_other_words_alone(address: str) -> None:
    assert scrub(PLAIN, Conninfo.parse(address)) == PLAIN


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("dbname=shop password=y user=y", "dbname=shop password=*** user=y"),
        ("dbname=shop password='y' sslpassword=yes", "dbname=shop password='***' sslpassword=yes"),
        ("cannot read postgresql://y:y@h/shop", "cannot read postgresql://y:***@h/shop"),
        ("ALTER ROLE y PASSWORD 'y'", "ALTER ROLE y PASSWORD '***'"),
        ('{"password": "y", "user": "y"}', '{"password": "***", "user": "y"}'),
    ],
)
def test_where_a_password_stands_a_short_one_is_struck_out(message: str, told: str) -> None:
    assert hide(message, ["y"]) == told


@pytest.mark.parametrize("secret", ["abcd", "canary-5ecret", "p'w\"d"])
def test_of_four_characters_and_more_it_is_found_nowhere(secret: str) -> None:
    assert secret not in hide(f"x{secret}x {secret} '{secret}' {secret}{secret}", [secret, "c"])


def test_a_secret_of_a_statement_s_is_struck_out_between_quotes() -> None:
    assert hide("syntax error at or near \"ab\", 'ab', about", ["ab"], quoted=True) == (
        "syntax error at or near \"***\", '***', about"
    )


def test_the_team_s_command_keeps_what_only_holds_a_short_password_s_letters() -> None:
    environment = {"PATH": "/usr/bin", "MINE": "y", "TOO": "password=y", "URL": "mysql://u:y@h/d", "HOME": "/home/my"}
    kept = scrubbed_environment(environment, names=(), databases=[Conninfo.parse("host=h password=y")])
    assert kept == {"PATH": "/usr/bin", "HOME": "/home/my"}
