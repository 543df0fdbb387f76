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
]


@pytest.mark.parametrize(("kind", "text"), STATEMENTS)
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
