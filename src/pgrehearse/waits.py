"""How long to wait, and how to go on: from configuration and words to what the apply path goes by."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from pgrehearse.config_sections import Environment
from pgrehearse.errors import ConfigurationError
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.standing import Resolution


class Waits(Protocol):
    """What a command says about waiting; None: as the configuration, or the default, has it."""

    @property
    def lock_timeout_s(self) -> float | None: ...
    @property
    def max_block_s(self) -> float | None: ...
    @property
    def wait_s(self) -> float | None: ...


def limits_of(options: Waits, environment: Environment | None) -> Limits:
    """What the command line says, else what the environment's configuration says, else the defaults."""
    limits = waits_of(environment)
    if environment is not None and environment.statement_timeout_s is not None:
        limits = replace(limits, statement_timeout_ms=round(environment.statement_timeout_s * 1000))
    limits = _limited(limits, options.lock_timeout_s, options.max_block_s)
    return limits if options.wait_s is None else replace(limits, wait_s=options.wait_s)


def waits_of(environment: Environment | None) -> Limits:
    """How a promotion to it waits where the command line says nothing; its statement timeout is not among these."""
    limits = Limits()
    return limits if environment is None else _limited(limits, environment.lock_timeout_s, environment.max_block_s)


def _limited(limits: Limits, lock_timeout_s: float | None, max_block_s: float | None) -> Limits:
    if lock_timeout_s is not None:
        limits = replace(limits, lock_timeout_ms=round(lock_timeout_s * 1000))
    return limits if max_block_s is None else replace(limits, max_block_s=max_block_s)


def read_resolutions(given: Iterable[str]) -> dict[str, Resolution]:
    """VERSION:ANSWER by version; raises `ConfigurationError`."""
    found = {}
    for text in given:
        version, colon, answer = text.rpartition(":")
        if not colon or answer not in {each.value for each in Resolution}:
            raise ConfigurationError(
                f"--resolve {text}: expected VERSION:applied, VERSION:again or VERSION:edited",
                remedy="applied: the statement's effect is there; again: run it again.",
            )
        found[version] = Resolution(answer)
    return found
