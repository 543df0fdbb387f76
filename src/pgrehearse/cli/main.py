"""The entry point: commands are imported only when they are run, and every error is told in one place."""

import importlib
import io
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from pgrehearse import __version__
from pgrehearse.errors import ConfigurationError, PgRehearseError, WrongUsage

# query_canceled, lock_not_available, idle_in_transaction_, transaction_ and idle_session_timeout
TIMEOUTS = frozenset({"57014", "55P03", "25P03", "25P04", "57P05"})
INTERRUPTED = 130
WRONG_USAGE = 2
TRACEBACK_VARIABLE = "PGREHEARSE_TRACEBACK"

# command -> (module, one line for the list in --help).  psycopg (0.2 s) and SQLAlchemy (0.3 s) are
# imported by the commands that need them; `--help` and `--version` need neither.
COMMANDS = {
    "demo": ("demo", "The whole story on two embedded PostgreSQL servers; nothing to set up."),
    "init": ("init", "Write pgrehearse.toml from what the folder holds."),
    "status": ("status", "What is applied, pending, edited, skipped or missing.  Read-only."),
    "lint": ("lint", "What migration files would do, told without running them."),
    "explain": ("explain", "What a hazard does, an example of it, and the safe way."),
    "migrate": ("migrate", "Apply pending migrations to an environment that is not protected."),
    "clone": ("clone", "Copy an environment as it is at one instant, and keep the copy."),
    "clones": ("clones", "List, drop or prune the copies that pgrehearse made."),
    "run": ("run", "Rehearse the pending migrations on a clone; writes a receipt."),
    "report": ("report", "Show a receipt as text, Markdown or JSON."),
    "approve": ("approve", "Say yes to a receipt, under your name; or take that back."),
    "promote": ("promote", "Promote exactly what was rehearsed to a protected environment."),
    "resume": ("resume", "Go on with a promotion that was killed."),
    "rollback": ("rollback", "Take a promotion back by the best way that is left."),
    "backup": ("backup", "Take a backup that is proved by a restore elsewhere; verify, list and prune them."),
}


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pgrehearse.cli.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"  Did you mean `{close[0]}`?" if close else ""
            raise click.UsageError(f"there is no command `{args[0]}`.{hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list without importing a single command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 yes, 1 no, 2 wrong usage or configuration, 3 not measured, 4 server not reached, "
    "130 interrupted.",
)
@click.version_option(__version__, "--version", message="pgrehearse %(version)s")
@click.option(
    "--config", "-c", "config_file", metavar="FILE", help="Configuration file; default: the nearest pgrehearse.toml."
)
@click.pass_context
def cli(ctx: click.Context, config_file: str | None) -> None:
    """Never apply an untested migration to production.

    pgrehearse clones production, rehearses the pending migrations on the clone while it watches every
    lock, rewrite and row, and says what they did and what they would lose.  Then it promotes exactly what
    was rehearsed, with a proved way back.
    """
    ctx.obj = config_file


def main() -> NoReturn:
    """The program: run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line in this process; every outcome ends here as a message and an exit code."""
    code: object
    _print_anything(machine_reads=_asks_json(arguments) or not {"sarif", "--format=sarif"}.isdisjoint(arguments))
    try:
        code = cli.main(args=list(arguments), prog_name="pgrehearse", standalone_mode=False, color=_colour())
        sys.stdout.flush()
    except PgRehearseError as error:
        code = _tell(error, as_json=_asks_json(arguments))
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except click.ClickException as error:
        if _asks_json(arguments):
            wrong = WrongUsage(_without_secrets(error.format_message()))
            print(json.dumps(error_document(wrong), ensure_ascii=False, indent=2))
        shown = io.StringIO()
        error.show(shown)
        print(_without_secrets(shown.getvalue()), end="", file=sys.stderr)  # click repeats what it did not expect
        code = WRONG_USAGE
    except BrokenPipeError:  # `pgrehearse report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:  # whatever nobody foresaw is told in one line too, and is never a yes
        if TRACEBACK_VARIABLE in os.environ:
            raise
        code = _tell(_unforeseen(error), as_json=_asks_json(arguments))
    return code if isinstance(code, int) else 0


def _colour() -> bool | None:
    """None: colours where a terminal shows them.  rich heeds these variables by itself, click does not."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _print_anything(*, machine_reads: bool) -> None:
    """A terminal that cannot show a name's letters shows their numbers; JSON is UTF-8 (RFC 8259, 8.1)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if machine_reads and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _asks_json(arguments: Sequence[str]) -> bool:
    """Whether the answer, and so an error, is to be JSON: ``--json``, or ``--format json``."""
    pairs = itertools.pairwise(arguments)
    return "--json" in arguments or "--format=json" in arguments or ("--format", "json") in pairs


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM leaves as Ctrl-C does, so that clones are dropped on the way out."""
    raise KeyboardInterrupt


def _without_secrets(message: str) -> str:
    """The message without the password of an address that was typed in the wrong place, mistyped ones too."""
    message = re.sub(r":(?!//)\S*@", ":***@", message)
    return re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s)&]+)", r"\1***", message, flags=re.IGNORECASE)


def _unforeseen(error: Exception) -> PgRehearseError:
    """An error that no room turned into one of ours: a lost connection, or a mistake of pgrehearse's own."""
    from pgrehearse.errors import EndedByTimeout, Unforeseen
    from pgrehearse.postgres.connect import scrub

    told = scrub(str(error)) or "no message"
    if getattr(error, "sqlstate", None) in TIMEOUTS:
        return EndedByTimeout(f"the server ended a statement of pgrehearse's own: {told}")
    return Unforeseen(f"{type(error).__name__}: {told}")


def _tell(error: PgRehearseError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(error_document(error), ensure_ascii=False, indent=2))
    # What is wrong with a file or an option is one line, so that a log or an editor's problem list holds it whole.
    joint = " -> " if isinstance(error, ConfigurationError) and "\n" not in str(error) else "\n  -> "
    word = "error" if error.exit_code else "note"
    print(f"{word}: {error}{joint}{error.remedy}" if error.remedy else f"{word}: {error}", file=sys.stderr)
    return error.exit_code


def error_document(error: PgRehearseError) -> dict[str, Any]:
    """The JSON answer where there is no other: ``error.schema.json``."""
    name = type(error).__name__
    code = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
    return {
        "format": 1,
        "error": {"code": code, "exit_code": error.exit_code, "message": str(error), "remedy": error.remedy},
    }
