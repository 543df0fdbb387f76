import os
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgrehearse.errors import ConfigurationError, MalformedConninfo
from pgrehearse.postgres.connect import scrub
from pgrehearse.postgres.conninfo import ON_A_SOCKET, Conninfo

SECRET = "p@ss:w/rd?ü"

ADDRESSES = [
    f"postgresql://bob:{'p%40ss%3Aw%2Frd%3F%C3%BC'}@db.example.com:6000/shop?sslmode=require",
    f"host=db.example.com user=bob password='{SECRET}' dbname='odd name'",
    f"postgresql://bob:{'p%40ss%3Aw%2Frd%3F%C3%BC'}@/shop?host=/var/run/postgresql",
    f"postgresql://bob:{'p%40ss%3Aw%2Frd%3F%C3%BC'}@a:6000,b:7000/shop?target_session_attrs=any",
    f"host=/run/x port=6000 user=bob password='{SECRET}' dbname=shop",
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


@pytest.mark.parametrize("text", ADDRESSES)
def test_a_password_is_struck_out_however_it_is_written(text: str) -> None:
    told = scrub(f"a {SECRET} b {quote(SECRET, safe='')} c", Conninfo.parse(text))
    assert told == "a *** b *** c"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("postgresql://a,b:6000,c/d", "a,b:6000,c/d"),
        ("host=a,b port=6000 dbname=d", "a:6000,b:6000/d"),
        ("postgresql://a,b/d", "a,b/d"),
    ],
)
def test_a_list_of_hosts_is_told_with_each_one_s_port(text: str, address: str) -> None:
    assert Conninfo.parse(text).address == address


def test_what_says_nothing_on_a_socket_is_no_part_of_its_url() -> None:
    """Programs that know fewer parameters than libpq take those for settings of the server, or refuse them."""
    conninfo = Conninfo.parse("host=/run/x user=u dbname=d").replaced(**ON_A_SOCKET)
    assert conninfo.as_url() == "postgresql://u@/d?host=%2Frun%2Fx"
    options = conninfo.replaced(options="-c search_path=a")
    assert conninfo_to_dict(options.as_url())["options"] == "-c search_path=a"


def test_a_service_s_password_does_not_take_the_place_of_a_child_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service stands above PGPASSWORD; what else it sets is kept."""
    (tmp_path / "services").write_text("[prod]\nhost=db.example\npassword=hunter2\ndbname=shop\nkeepalives_idle=7\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSERVICE", "prod")
    arguments, environment = Conninfo.parse("host=uat.example user=u password=own").for_child()
    expected = {"host": "uat.example", "user": "u", "dbname": "shop", "keepalives_idle": "7"}
    assert conninfo_to_dict(arguments) == expected
    assert environment["PGPASSWORD"] == "own"
    assert "PGSERVICE" not in environment
    by_service = Conninfo.parse("postgresql://")
    assert by_service.address.startswith("service prod/")
    assert by_service.for_child()[1]["PGSERVICE"] == "prod"


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
