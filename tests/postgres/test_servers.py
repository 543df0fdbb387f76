"""What the tests suppose of the servers that they run on."""

import psycopg
import pytest
from tests.support.built_without import BUILT_WITHOUT

from pgrehearse.postgres.connect import Connection, fetch_value

CONFIGURED = "SELECT setting FROM pg_config() WHERE name = 'CONFIGURE'"
COLLATION = "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


@pytest.mark.pg(">= 15")
def test_servers_lack_what_the_tests_leave_out_for_them_and_nothing_else(
    connection: Connection, server_major: int
) -> None:
    lacking = set()
    if "libxml" not in fetch_value(connection, CONFIGURED):
        lacking.add("libxml")
    try:
        connection.execute(COLLATION)
    except psycopg.Error as refused:
        assert "ICU is not supported" in str(refused)  # noqa: PT017 -- refused on some servers, and only for this
        lacking.add("icu")
    assert lacking == BUILT_WITHOUT[server_major]
