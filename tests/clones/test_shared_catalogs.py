"""What changed of a server, and the statement that undoes it: run, it does."""

import pytest

from pgrehearse.clones.shared_catalogs import (
    SharedCatalogs,
    Transactions,
    compare_shared_catalogs,
    read_shared_catalogs,
)
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

NOBODY = Transactions(xids=frozenset(), spans=())
CHANGES = (
    "CREATE ROLE {new}",
    "ALTER ROLE {old} CREATEDB VALID UNTIL '2031-01-01'",
    "GRANT pg_read_all_data TO {old} WITH ADMIN OPTION",
    "REVOKE pg_monitor FROM {old}",
    "ALTER ROLE {old} SET search_path TO a, b",
    "ALTER ROLE {old} RESET work_mem",
    "COMMENT ON ROLE {old} IS 'it''s changed'",
)


@pytest.mark.pg(">= 15")
def test_each_change_comes_with_the_statement_that_undoes_it(uat: LocalServer) -> None:
    names = {"old": '"Changed ""one"""', "new": "made_meanwhile"}
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute(
            "CREATE ROLE {old}; GRANT pg_monitor TO {old}; ALTER ROLE {old} SET work_mem TO '7MB';"
            "COMMENT ON ROLE {old} IS 'as it was'".format(**names).encode()
        )
        try:
            before = read_shared_catalogs(admin)
            for change in CHANGES:
                admin.execute(change.format(**names).encode())
            found = compare_shared_catalogs(before, read_shared_catalogs(admin), NOBODY)
            assert len(found) == 6
            for each in found:
                assert each.undo is not None, each
                admin.execute(each.undo.encode())
            assert _contents(read_shared_catalogs(admin)) == _contents(before)
        finally:
            for name in names.values():
                admin.execute(f"DROP ROLE IF EXISTS {name}".encode())


@pytest.mark.pg("== 18")
def test_a_setting_of_ones_own_is_not_repeated(uat: LocalServer) -> None:
    """It may hold a secret; and a setting of every role has a statement, too."""
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE holds_it; ALTER ROLE holds_it SET app.jwt_secret TO 'canary'")
        try:
            before = read_shared_catalogs(admin)
            admin.execute("ALTER ROLE holds_it SET app.jwt_secret TO 'other'; ALTER ROLE ALL SET app.every TO 'x'")
            found = {
                each.what: each.undo for each in compare_shared_catalogs(before, read_shared_catalogs(admin), NOBODY)
            }
        finally:
            admin.execute("DROP ROLE holds_it; ALTER ROLE ALL RESET ALL")
    assert (
        found["settings of role holds_it"]
        == "ALTER ROLE holds_it RESET ALL; ALTER ROLE holds_it SET app.jwt_secret TO '***'"
    )
    assert found["settings of every role"] == "ALTER ROLE ALL RESET ALL"


def _contents(catalogs: SharedCatalogs) -> dict[str, str]:
    return {what: each.content.replace("infinity", "") for what, each in catalogs.objects.items()}
