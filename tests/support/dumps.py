"""What pg_dump says of a database: the oracle for copies."""

import re
import subprocess

from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo


def dump_text(conninfo: Conninfo, *options: str) -> str:
    """pg_dump's plain text, without the random key that newer ones write into it."""
    with connect(conninfo, verb="test") as session:
        major = session.info.server_version // 10000
    address, environment = conninfo.for_child()
    arguments = [require_client(major).program("pg_dump"), "--encoding=UTF8", *options, f"--dbname={address}"]
    printed = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True).stdout
    return re.sub(r"^\\(un)?restrict .*\n", "", printed, flags=re.MULTILINE)


def dump_with_database(conninfo: Conninfo) -> str:
    """The same with the database's own properties, settings and privileges; its name and comment are left out."""
    assert conninfo.database is not None
    text = dump_text(conninfo, "--create").replace(conninfo.database, "DATABASE")
    lines = [line for line in text.splitlines() if line and not line.startswith("--")]
    return "\n".join(line for line in lines if "COMMENT ON DATABASE" not in line)
