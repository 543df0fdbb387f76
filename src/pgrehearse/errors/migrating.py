"""Migration sources, and migrations that run."""

from pgrehearse.errors.pgrehearse_error import PgRehearseError
from pgrehearse.errors.reaching import ConfigurationError, GuardRefused, NotMeasured

# --- migration sources: what is on disk and what a ledger says


class SourceNotFound(ConfigurationError):
    """There are no migrations where they were looked for."""

    default_remedy = "Name the folder that holds them: drizzle's `out` folder, or a folder of NNNN_name.sql files."


class MalformedSource(ConfigurationError):
    """A migrations folder, or a file in it, that cannot be read as what its layout says."""

    default_remedy = "Mend the named file; nothing was run."


class LedgerUnreadable(NotMeasured):
    """The migration ledger exists, but this role may not read it, or a runner holds it."""

    default_remedy = "Use a role that may read the migration ledger."


class MalformedLedger(ConfigurationError):
    """The relation with the migration ledger's name is not a migration ledger."""

    default_remedy = "Check `migrations.schema` and `migrations.table` of the drizzle config."


class LedgerRowUnknown(GuardRefused):
    """The ledger has a row of which the migrations folder knows nothing, where each must be known."""

    default_remedy = "Bring the missing migration back from version control, then run `pgrehearse status`."


# --- apply


class UnreadableSql(ConfigurationError):
    """A migration file that cannot be sent as SQL: syntax, encoding, psql commands, COPY data.

    The message begins with ``FILE:LINE:COLUMN:``.
    """

    default_remedy = "Mend the file; `psql -f` on a scratch database shows the same place."


class MalformedExpectation(UnreadableSql):
    """A line `-- pgrehearse: expect …` of a migration that cannot be read, or that stands where it says nothing.

    The message begins with ``FILE:LINE:COLUMN:``.
    """

    default_remedy = "See docs/declared-intent.md for what can be declared, and how."


class MalformedAllow(UnreadableSql):
    """A line `-- pgrehearse: allow …` of a migration that cannot be read, gives no reason, or names no hazard.

    The message begins with ``FILE:LINE:COLUMN:``.
    """

    default_remedy = "Write `-- pgrehearse: allow HAZARD because REASON` above the statement, or behind it on its line."


class MigrationFailed(PgRehearseError):
    """The server refused a statement, or a transaction at its COMMIT.

    The message has file, line, column, SQLSTATE and the server's own text, then the state the database is in.
    """

    default_remedy = "Mend the migration and run again; what is applied is not run twice."

    def __init__(
        self,
        message: str,
        *,
        sqlstate: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        detail: str | None = None,
        hint: str | None = None,
        state: str = "",
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.sqlstate = sqlstate
        self.path = path
        self.line = line
        self.column = column
        self.detail = detail
        self.hint = hint
        self.state = state


class BlockedOthers(MigrationFailed):
    """Other sessions had waited behind the migration for nearly `max_block`, so it was cancelled."""

    default_remedy = (
        "Run it again at a quieter time, make the statement's lock shorter (`pgrehearse lint` says how), "
        "or allow longer with --max-block."
    )


class LedgerRowsGone(MigrationFailed):
    """A migration, or a trigger, took rows out of the migration ledger or changed them."""

    default_remedy = (
        "What is not recorded would be applied again.  Leave the ledger's table out of migrations and triggers, and "
        "put its rows back before anything else is run."
    )


class LockNotAcquired(MigrationFailed):
    """A lock was not to be had within lock_timeout, or a deadlock came back, in every attempt."""

    default_remedy = "The holder is named above: let it finish or end it, then run again; or raise --lock-timeout."


class ConnectionLost(MigrationFailed):
    """The connection broke while a migration ran: the server went down, ended the session, or the line was cut."""

    exit_code = 4
    default_remedy = (
        "What of the plan is in the database is not known until the server answers.  Then run the same command again, "
        "or `pgrehearse resume` for a promotion: it looks there first, and goes on with what is left."
    )


class CommitOutcomeUnknown(MigrationFailed):
    """The connection broke between COMMIT and its answer, and the server could not be asked again."""

    exit_code = 3
    default_remedy = "Run the command again when the server is back: its ledger says whether the commit happened."


class StateUnknown(PgRehearseError):
    """A statement that leaves no trace in the catalog was started by a killed run; nobody recorded its end."""

    exit_code = 3
    default_remedy = (
        "Look in the database whether its effect is there, then run again with --resolve VERSION:applied or "
        "--resolve VERSION:again."
    )


class EditedMidway(GuardRefused):
    """A file was changed after a killed run had already done part of it."""

    default_remedy = "Restore the file's old bytes and run again to finish it, then write a new migration."


class ConcurrentRunner(GuardRefused):
    """Another migration tool is running the same migrations in the same database."""

    default_remedy = "Let it finish or end it, then look with `pgrehearse status` and run again."


class RunnerBusy(GuardRefused):
    """Another run of ours holds the lock between runners."""

    default_remedy = "Wait for it, or end what a killed run left behind with --end-orphan."


class LedgerChanged(GuardRefused):
    """The ledger names another state than the plan was made for."""

    default_remedy = "Look with `pgrehearse status` and run again."


class NotReadyToMigrate(GuardRefused):
    """The folder and the database disagree in a way that running the pending files would make worse."""

    default_remedy = "Look with `pgrehearse status`; every problem there has its own remedy."


class Interrupted(PgRehearseError):
    """Ctrl-C: the running statement was cancelled and its transaction rolled back."""

    exit_code = 130
    default_remedy = "Run the same command again to go on."
