import subprocess
import sys

import pytest

from pgrehearse.migrations.secrets import find_secrets, mask, redact

CANARY = "c4nary_s3cret"

STATEMENTS = [
    ("CreateRoleStmt", f"CREATE ROLE bob LOGIN PASSWORD '{CANARY}' VALID UNTIL '2030-01-01'"),
    ("AlterRoleStmt", f"ALTER ROLE bob PASSWORD E'{CANARY}'"),
    ("AlterRoleStmt", f"ALTER ROLE bob PASSWORD $q${CANARY}$q$"),
    ("CreateUserMappingStmt", f"CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'x', password '{CANARY}')"),
    ("AlterUserMappingStmt", f"ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password '{CANARY}')"),
    ("CreateSubscriptionStmt", f"CREATE SUBSCRIPTION s CONNECTION 'host=h password={CANARY}' PUBLICATION p"),
    ("CreateForeignServerStmt", f"CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (api_key '{CANARY}')"),
    ("SelectStmt", f"SELECT * FROM dblink('host=h user=u password={CANARY}', 'SELECT 1') AS t (a int)"),
    ("SelectStmt", f"SELECT dblink_connect('postgresql://u:{CANARY}@h/db')"),
    ("DoStmt", f"DO $$ BEGIN EXECUTE 'ALTER ROLE bob PASSWORD ''{CANARY}'''; END $$"),
    ("DoStmt", f"DO $$ BEGIN CREATE ROLE b PASSWORD '{CANARY}'; END $$"),
    ("DoStmt", f"DO $$ BEGIN CREATE ROLE b PASSWORD $p${CANARY}$p$; END $$"),
    ("DoStmt", f"DO $$ BEGIN EXECUTE format('ALTER ROLE b PASSWORD %L', '{CANARY}'); END $$"),
    ("DoStmt", f"DO $$ DECLARE pw text := '{CANARY}'; BEGIN EXECUTE format('alter/**/role b password %L', pw); END $$"),
    ("DoStmt", f"DO $$ BEGIN ALTER/**/ROLE b ENCRYPTED PASSWORD E'{CANARY}'; END $$"),
    ("DoStmt", f"DO $$ BEGIN ALTER ROLE b PASSWORD/**/'{CANARY}'; END $$"),
    ("DoStmt", f"DO 'BEGIN ALTER ROLE b PASSWORD ''{CANARY}''; END'"),
    ("DoStmt", f"""DO $$ BEGIN CREATE USER MAPPING FOR b SERVER s OPTIONS ("password" '{CANARY}'); END $$"""),
    ("DoStmt", f"""DO LANGUAGE plpython3u $$ plpy.execute("ALTER ROLE b PASSWORD '{CANARY}'") # it's $$"""),
    (
        "CreateFunctionStmt",
        f"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ SELECT dblink_connect('host=h password={CANARY}') $f$",
    ),
    ("SelectStmt", f"SELECT set_config('app.jwt_secret', '{CANARY}', false)"),
    ("AlterRoleSetStmt", f"ALTER ROLE b SET app.jwt TO '{CANARY}'"),
    ("AlterDatabaseSetStmt", f"ALTER DATABASE d SET app.key = '{CANARY}'"),
    ("VariableSetStmt", f"SET app.jwt_secret = '{CANARY}'"),
    ("", f"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ ALTER ROLE b PASSWORD $p${CANARY}$p$ $f$"),
    ("", f"-- see postgres://app:{CANARY}@db.example.com/shop\nSELECT 1"),
]


WITH_QUOTES = [  # a server echoes them as a whole
    ("DoStmt", f"DO $$ BEGIN ALTER ROLE b PASSWORD 'x''{CANARY}'; END $$"),
    ("SelectStmt", f"SELECT dblink_connect('host=h password=''foo {CANARY}''')"),
]


@pytest.mark.parametrize(("kind", "text"), STATEMENTS + WITH_QUOTES)
def test_a_password_in_a_statement_is_masked(kind: str, text: str) -> None:
    assert CANARY not in redact(text, kind)


@pytest.mark.parametrize(("kind", "text"), STATEMENTS)
def test_what_a_server_echoes_of_it_is_masked_too(kind: str, text: str) -> None:
    echoed = f'could not connect: "{CANARY}" rejected'
    assert CANARY not in mask(echoed, find_secrets(text, kind))


def test_a_statement_without_secrets_stays_as_it_is() -> None:
    text = "UPDATE users SET password_hash = crypt(name, 'salt'), name = 'it''s' WHERE token_id = 3"
    assert redact(text, "UpdateStmt") == text
    assert find_secrets(text, "UpdateStmt") == ()


HARMLESS = [
    ("DoStmt", "DO $$ BEGIN UPDATE users SET role = 'admin' WHERE name = 'x'; END $$"),
    ("AlterRoleSetStmt", "ALTER ROLE b SET search_path TO 'app'"),
    ("InsertStmt", """INSERT INTO settings VALUES ('{"token": "abc"}'), ('user''s role')"""),
    ("CreateFunctionStmt", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'server and user' $$"),
]


@pytest.mark.parametrize(("kind", "text"), HARMLESS)
def test_ordinary_words_hide_nothing(kind: str, text: str) -> None:
    assert redact(text, kind) == text
    assert find_secrets(text, kind) == ()


def test_the_words_around_a_secret_stay() -> None:
    text = "DO $b$ BEGIN CREATE ROLE b PASSWORD 'long enough' VALID UNTIL 'tomorrow'; END $b$"
    assert redact(text, "DoStmt") == "DO $b$ BEGIN CREATE ROLE b PASSWORD '***' VALID UNTIL '***'; END $b$"


LONG_WORDS = """
from pgrehearse.migrations.secrets import redact
for word in (r"\\x" + "deadbeef" * 25_000, "token" + "a" * 200_000, "http://a:80," * 5_000):
    redact(f"INSERT INTO logos VALUES (1, 'user {word}')", "InsertStmt")
    redact(f"DO $$ BEGIN INSERT INTO logos VALUES (1, '{word}'); END $$", "DoStmt")
"""


def test_a_long_word_is_read_once() -> None:
    """Patterns that begin anew at each of its letters took a minute for 32 kB of hexadecimal digits."""
    subprocess.run([sys.executable, "-c", LONG_WORDS], check=True, timeout=60)
