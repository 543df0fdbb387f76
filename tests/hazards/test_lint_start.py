"""What linting one file loads: its start is most of its time, so what it never asks for may not be loaded."""

import subprocess
import sys
from pathlib import Path

LINTS = """
import sys
from pgrehearse.cli.main import run_command
assert run_command(["lint", sys.argv[1]]) == 1
print(*sorted(sys.modules), sep="\\n")
"""
NEVER_ASKED_FOR = ["psycopg", "sqlalchemy", "pydantic", "rich", "pglast.enums.nodes", "pglast.printers", "tempfile"]
NODES = """
from pgrehearse.hazards.node_classes import postpone_node_classes
postpone_node_classes()
from pglast.parser import parse_sql_json
assert "SelectStmt" in parse_sql_json("SELECT 1")
import sys
assert "pglast.enums.nodes" not in sys.modules and "pglast.ast" in sys.modules
from concurrent.futures import ThreadPoolExecutor
import pglast
with ThreadPoolExecutor(8) as pool:
    trees = list(pool.map(pglast.parse_sql, ["SELECT a FROM t"] * 64))
from pglast import ast, enums
from pglast.enums.parsenodes import SetOperation
from pglast.stream import RawStream
for tree in trees:
    assert isinstance(tree[0].stmt, ast.SelectStmt) and tree[0].stmt.op == enums.SetOperation.SETOP_NONE
    assert RawStream()(tree) == "SELECT a FROM t"
try:
    ast.NoSuchNode
except AttributeError as error:
    print(error)
"""


def test_a_file_is_linted_without_what_it_does_not_need(tmp_path: Path) -> None:
    file = tmp_path / "0001_drop.sql"
    file.write_text("ALTER TABLE users DROP COLUMN nick;\nSELECT now();\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", LINTS, str(file)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines())
    assert "pglast.parser" in loaded
    assert not loaded & set(NEVER_ASKED_FOR)


def test_node_classes_come_when_they_are_asked_for_by_many_threads_too() -> None:
    done = subprocess.run([sys.executable, "-c", NODES], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("module 'pglast.ast' has no attribute 'NoSuchNode'", "")
