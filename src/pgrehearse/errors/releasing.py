"""Approval, backups, before-images, promotion and the ways back."""

from pgrehearse.errors.pgrehearse_error import PgRehearseError
from pgrehearse.errors.reaching import ConfigurationError, GuardRefused, NotMeasured

# --- release: approval, promotion, rollback


class FenceRefused(GuardRefused):
    """Other sessions cannot be kept from writing; nothing was done."""

    default_remedy = "Promote as the database's owner with pg_signal_backend, or stop the application yourself."


class UnknownPromotion(ConfigurationError):
    """No promotion is named so, or none is left to be taken back."""

    default_remedy = "`pgrehearse rollback --list` shows them."


class NoWayBack(GuardRefused):
    """A promotion cannot be taken back by any way, or not by one that was agreed to."""

    default_remedy = (
        "Where a backup's directory is not there, mount it or copy it back, and try again.  "
        "Where a right is missing (CREATEDB, ownership, ending sessions), give the URL of a role that has it, a "
        "superuser or the owner with CREATEDB and pg_signal_backend: --to env:ADMIN_URL.  Else mend forward with "
        "another migration, or restore from your own system's backup."
    )


class NothingUnfinished(GuardRefused):
    """There is no promotion to go on with."""

    default_remedy = "`pgrehearse promote` begins one."


class ApprovalRefused(GuardRefused):
    """An approval that cannot be given or taken back."""

    default_remedy = "`pgrehearse report RECEIPT` shows what there is to approve."


# --- release: backups


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


# --- before-images


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

    default_remedy = (
        "Nothing was changed.  Mend what the server says and run it again, or restore a backup beside production: "
        "`pgrehearse rollback --restore`."
    )


# --- promotion


class GateClosed(GuardRefused):
    """The gate says no; every reason is in the message, each with its own remedy."""

    default_remedy = "Nothing was written.  Each reason above says what to do; `pgrehearse status` shows the same gate."


class NotAsRehearsed(GuardRefused):
    """Production answered otherwise than the clone did, and was asked before the COMMIT."""

    default_remedy = "That transaction was rolled back.  Rehearse again: production is not what the rehearsal saw."


class LeaseHeld(GuardRefused):
    """Somebody else is doing the same to the same database."""

    default_remedy = "Wait for that run; if its machine is gone, its lease ends by itself, and then run again."


class LeaseLost(GuardRefused):
    """This run stood still for longer than its lease, and another may have taken over."""

    default_remedy = "Look with `pgrehearse status`, then run `pgrehearse resume`: it goes on with what is left."


# --- release: the restore beside production


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
