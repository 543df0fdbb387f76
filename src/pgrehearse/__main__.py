"""``python -m pgrehearse``."""

from pgrehearse.cli.main import main

main()
