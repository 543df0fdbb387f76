"""Clones, what is read from them, receipts and the release ledger."""

from pgrehearse.errors.pgrehearse_error import PgRehearseError
from pgrehearse.errors.reaching import ConfigurationError, NotMeasured, ServerUnreachable

# --- clones


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


class UnknownHazard(ConfigurationError):
    """No hazard of the catalogue has that id."""

    default_remedy = (
        "`pgrehearse explain --list` names them all; what only a rehearsal sees is in docs/exit-codes-and-json.md."
    )


# --- schema and data


class DataNotCompared(NotMeasured):
    """A session broke while the data of the pristine database and the clone was compared."""

    default_remedy = "Look into the server's log (out of memory, disk full, restarted?), then rehearse again."


class SchemaUnreadable(NotMeasured):
    """The shape of a database could not be read whole."""

    default_remedy = "Read it as a role that may read the system catalogs."


# --- rehearsal, receipts, release ledger


class CloneLost(ServerUnreachable):
    """The clone's server ended the connection while the plan ran: that is no verdict on the plan, and no receipt."""

    default_remedy = (
        "Nothing is known of the plan.  Look into the clone's server's log (memory, disk, a restart, a statement that "
        "ends its own session or crashes the server), then rehearse again."
    )


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
