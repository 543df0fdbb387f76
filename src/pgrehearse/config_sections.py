"""The tables of pgrehearse.toml: their keys, what each may be, and what it is where it is left out."""

import re
import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pgrehearse.errors import ConfigurationError, MalformedConninfo
from pgrehearse.postgres.conninfo import SECRET_PARAMETERS, Conninfo

Text = Annotated[str, Field(min_length=1)]
_ADDRESS_MARK = re.compile(r"[:/@=\s]")  # none of them stands in a variable's name; in an address one does


def _is_a_variable(name: str, info: ValidationInfo) -> str:
    """An address where a variable's name belongs is not repeated: it may hold a password."""
    if _ADDRESS_MARK.search(name):
        raise ConfigurationError(
            f"{info.field_name} is no variable's name",
            remedy="Put the URL into an environment variable or a .env file, and write that variable's name.",
        )
    return name


Variable = Annotated[Text, AfterValidator(_is_a_variable)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=1, allow_inf_nan=False)]
Policy = Literal["auto", "dump", "before-images", "external"]


def _listed(given: object) -> object:
    """One word for a list of one; a list of TOML becomes a tuple, which stays as it was read."""
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list) else given


class Section(BaseModel):
    """One table of the file: no unknown keys, no guessing of types, never changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Environment(Section):
    """``[environments.NAME]``: a named database."""

    url_env: Variable | None = None  # the variable that holds the URL
    env_file: Text | None = None  # the .env file to read that variable from, instead of the environment
    url: Text | None = None  # an address without a password: service=…, or a passfile does the rest
    migrate_url_env: Variable | None = None  # the variable with the URL that migrations log in with; None: the same
    standby_url_envs: tuple[Variable, ...] = ()  # variables with the URLs of its standbys, which the gate asks
    protected: bool = False
    max_block_s: Seconds | None = None  # how long others may wait behind us before we cancel ourselves
    lock_timeout_s: Seconds | None = None
    statement_timeout_s: Seconds | None = None
    recoverability: tuple[Policy, ...] | None = None  # how it can be taken back; None: as [backup] says

    @field_validator("recoverability", "standby_url_envs", mode="before")
    @classmethod
    def _is_a_list(cls, given: object) -> object:
        return _listed(given)

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            given = Conninfo.parse(url).parameters
        except MalformedConninfo as error:
            raise MalformedConninfo(f"url is {error}") from None
        if set(given) & SECRET_PARAMETERS:
            raise ConfigurationError(
                "url holds a password, which does not belong into a file that is committed",
                remedy='Put the URL into an environment variable or a .env file and write url_env = "THAT_VARIABLE".',
            )
        return url

    @model_validator(mode="after")
    def _has_one_address(self) -> "Environment":
        if (self.url is None) == (self.url_env is None):
            raise ConfigurationError(
                "needs exactly one of url_env and url",
                remedy='Write url_env = "DATABASE_URL" (the variable that holds the URL).',
            )
        if self.env_file is not None and self.url_env is None:
            raise ConfigurationError("has env_file without url_env", remedy="Name the variable to read from that file.")
        return self


class Migrations(Section):
    """``[migrations]``: where they come from and how they run."""

    path: Text | None = None
    transaction: Literal["auto", "plan", "file", "statement"] = "auto"
    role: Text | None = None  # the role that runs migrations in production; None: the one in the URL
    drizzle_schema: Text = "drizzle"
    drizzle_table: Text = "__drizzle_migrations"


class Lint(Section):
    """``[lint]``: what single hazards weigh, and what is accepted."""

    ignore: tuple[str, ...] = ()  # hazards of which nothing is said
    levels: dict[str, Literal["error", "warning", "info"]] = Field(default_factory=dict)  # by hazard
    baseline: Text | None = None  # a file of findings that are accepted as they are

    @field_validator("ignore", mode="before")
    @classmethod
    def _is_a_list(cls, given: object) -> object:
        return _listed(given)

    @model_validator(mode="after")
    def _names_hazards(self) -> "Lint":
        if self.ignore or self.levels:
            from pgrehearse.hazards.catalogue import require_hazard  # where there is something to look up

            for hazard in (*self.ignore, *self.levels):
                require_hazard(hazard)
        return self


class Clone(Section):
    """``[clone]``: how a copy of production is made."""

    same_server: bool = False  # accept the load of a clone on the server that holds a protected database
    create_roles: bool = False  # make production's missing roles on a UAT server (a private server always does)
    jobs: Annotated[int, Field(ge=1, le=64)] | None = None
    directory: Text | None = None  # where dumps and private servers live; None: the system's temporary directory
    keep: bool = False


class Rehearsal(Section):
    """``[rehearsal]``: what a rehearsal looks at."""

    proof: Literal["touched", "full", "counts"] = "touched"  # how thoroughly data is compared
    contention: Literal["off", "light", "heavy"] | None = None  # traffic beside the plan, in a run of its own
    contention_script: Text | None = None  # more of it: a file for pgbench


class Checks(Section):
    """``[checks]``: the team's own."""

    directory: Text = "checks"
    command: Text | None = None
    url_variable: Text = "DATABASE_URL"  # holds the clone's URL while the command runs

    @field_validator("command")
    @classmethod
    def _can_be_split(cls, command: str | None) -> str | None:
        try:
            shlex.split(command or "")
        except ValueError as error:
            raise ConfigurationError(
                f"command cannot be split into words: {error}", remedy="Close the quote."
            ) from None
        return command


class Queries(Section):
    """``[queries]``: the application's statements, planned before and after."""

    workload: Text | None = None  # "pg_stat_statements", "none", or a file; None: what production counts, if it does
    cost_factor: Factor = 2.0  # from which a query counts as slower
    rows_factor: Factor = 10.0  # of the estimated rows, from which it is told
    execute_worst: Annotated[int, Field(ge=0, le=100)] = 5  # how many are run and timed on both copies
    time_limit_s: Seconds = 5.0  # of one run


class Application(Section):
    """``[application]``: what runs against the database while it is migrated."""

    statements: Text | None = None  # a file of what it sends, tried before and after
    role: Text | None = None  # who sends them; None: who runs the migrations


class Promotion(Section):
    """``[promotion]``: what the gate asks for."""

    max_age_hours: Seconds = 24.0  # since the clone was taken
    approvals: Annotated[int, Field(ge=0, le=20)] = 1
    approved_by_another: bool = False  # the one who ran the rehearsal does not count
    max_change_percent: Number = 20.0  # of a touched table's rows or bytes since the clone was taken
    max_replay_lag_s: Number = 60.0  # of any standby
    max_retained_wal_gb: Number = 50.0  # behind any replication slot
    precondition_timeout_s: Seconds = 600.0  # of one question to production about the rows that the plan needs
    lease_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 60.0  # how long a silent promoter keeps its turn


class Backup(Section):
    """``[backup]``: how a promotion can be taken back, proved before anything is touched."""

    policy: tuple[Policy, ...] = ("auto",)
    directory: Text = ".pgrehearse/backups"
    dump_limit_gb: Number = 50.0  # above it, `auto` is before-images and external
    scratch: Text | None = None  # the environment on whose server a dump is proved; None: a private local server
    jobs: Annotated[int, Field(ge=1, le=64)] | None = None
    external_command: Text | None = None  # must exit 0; the database's URL is in DATABASE_URL
    external_timeout_s: Seconds = 3600.0
    drill_command: Text | None = None  # prints the date of the last restore drill
    max_drill_age_days: Number = 90.0
    keep: Annotated[int, Field(ge=1)] = 5

    @field_validator("policy", mode="before")
    @classmethod
    def _is_a_list(cls, given: object) -> object:
        return _listed(given)


class Ledger(Section):
    """``[ledger]``: where receipts, approvals and promotions are kept."""

    path: Text = ".pgrehearse/ledger.db"
    url_env: Variable | None = None  # the variable with a PostgreSQL URL, for a team that shares one ledger
    env_file: Text | None = None
