"""The program, and ``python -m pgrehearse``."""

import sys


def main() -> None:
    """Run the command line and exit with its code; an interrupt while it is still being loaded is no traceback."""
    try:
        from pgrehearse.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)  # as `cli.main.INTERRUPTED`, which is not there yet
    run()


if __name__ == "__main__":
    main()
