"""How long `migrate` may wait: the command line decides, then the environment's configuration, then the defaults."""

from pgrehearse.config_sections import Environment
from pgrehearse.migrations.limits import Limits
from pgrehearse.project import MigrateOptions
from pgrehearse.waits import limits_of

CONFIGURED = Environment(url_env="X", max_block_s=7, lock_timeout_s=1.5, statement_timeout_s=60)


def test_without_a_word_the_defaults_hold() -> None:
    assert limits_of(MigrateOptions(database="uat"), None) == Limits()
    assert limits_of(MigrateOptions(database="uat"), Environment(url_env="X")) == Limits()


def test_the_environments_configuration_holds() -> None:
    assert limits_of(MigrateOptions(database="uat"), CONFIGURED) == Limits(
        max_block_s=7, lock_timeout_ms=1500, statement_timeout_ms=60_000
    )


def test_the_command_line_wins() -> None:
    options = MigrateOptions(database="uat", max_block_s=1, lock_timeout_s=0, wait_s=0)
    assert limits_of(options, CONFIGURED) == Limits(
        max_block_s=1, lock_timeout_ms=0, statement_timeout_ms=60_000, wait_s=0
    )
