import os

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgrehearse.errors import ConfigurationError, MalformedConninfo
from pgrehearse.postgres.conninfo import Conninfo

SECRET = "p@ss:w/rd?ü"

ADDRESSES = [
    f"postgresql://bob:{'p%40ss%3Aw%2Frd%3F%C3%BC'}@db.example.com:6000/shop?sslmode=require",
    f"host=db.example.com user=bob password='{SECRET}' dbname='odd name'",
    f"postgresql://bob:{'p%40ss%3Aw%2Frd%3F%C3%BC'}@/shop?host=/var/run/postgresql",
    f"host=::1 port=5433 user='o\\'brien' password={SECRET} dbname=shop",
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_a_url_made_of_an_address_means_the_same_to_libpq(text: str) -> None:
    assert conninfo_to_dict(Conninfo.parse(text).as_url()) == conninfo_to_dict(text)


@pytest.mark.parametrize("text", ADDRESSES)
def test_no_form_that_is_printed_shows_the_password(text: str) -> None:
    conninfo = Conninfo.parse(text)
    for shown in (str(conninfo), repr(conninfo), conninfo.address, conninfo.for_child()[0]):
        assert SECRET not in shown
        assert "p%40ss" not in shown


def test_a_child_gets_the_password_in_its_environment_and_the_rest_in_its_arguments() -> None:
    arguments, environment = Conninfo.parse("host=h user=u password=secret dbname=d sslmode=verify-full").for_child()
    assert conninfo_to_dict(arguments) == {"host": "h", "user": "u", "dbname": "d", "sslmode": "verify-full"}
    assert environment["PGPASSWORD"] == "secret"
    assert environment["PATH"] == os.environ["PATH"]


def test_a_service_is_handed_on_and_told_by_its_name() -> None:
    conninfo = Conninfo.parse("service=production")
    assert conninfo.for_child()[0] == "service=production"
    assert "production" in conninfo.address


def test_a_secret_that_only_argv_could_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sslpassword"):
        Conninfo.parse("host=h sslpassword=secret").for_child()


@pytest.mark.parametrize(
    "text", ["postgresql://u:secret@h:port/d", "hunter2 secret=x", "", "  ", "postgresql://u:sec%zzret@h/d"]
)
def test_what_libpq_cannot_read_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(MalformedConninfo) as caught:
        Conninfo.parse(text)
    assert "secret" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} "])
def test_a_variable_s_line_end_is_no_part_of_the_database_s_name(around: str) -> None:
    conninfo = Conninfo.parse(around.format("postgresql://bob@db.example.com/shop"))
    assert conninfo.address == "db.example.com/shop"
    assert conninfo_to_dict(conninfo.text)["dbname"] == "shop"
