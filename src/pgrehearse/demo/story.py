"""The demo's story: real commands on two real servers, each held against the verdict that it should give."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pgrehearse.migrations.sources.find import open_source
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

MAJOR = 18
HERE = Path(__file__).parent
BAD = "0003_ratings_by_hand.sql"
SAFE = "0003_product_ratings"
APPLIED = ("0000_shop", "0001_reviews_and_notes", "0002_page_views")
FIRST_WHEN_MS = 1_767_225_600_000  # 2026-01-01, as drizzle-kit would have written it into its journal
DAY_MS = 86_400_000
CLONES_LEFT = "SELECT count(*) FROM pg_catalog.pg_database WHERE datname LIKE 'pgrehearse%'"
CONFIGURATION = """\
[environments.prd]
url_env = "DEMO_PRD_URL"
protected = true

[environments.uat]
url_env = "DEMO_UAT_URL"

[migrations]
path = "drizzle"

[backup]
scratch = "uat"
"""

RunCommand = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One command of the story and the exit code that it must give."""

    says: str
    arguments: tuple[str, ...]
    exit_code: int


BAD_SCENES = (
    Scene(
        says="Somebody put a file into the drizzle folder by hand.  What does production say to that?",
        arguments=("status", "prd"),
        exit_code=1,
    ),
    Scene(says="And what would the file do?", arguments=("lint", f"drizzle/{BAD}"), exit_code=1),
    Scene(
        says="Rehearse it: copy production to UAT, run it there, compare every row.",
        arguments=("run", "--source", "prd", "--target", "uat", "--file", f"drizzle/{BAD}"),
        exit_code=1,
    ),
)
FORGETFUL = "0004_forget_tags"
APPROVED = (
    Scene(
        says="May it go to production?  Not before somebody says yes.",
        arguments=("promote",),
        exit_code=1,
    ),
    Scene(says="Somebody says yes, to exactly this receipt.", arguments=("approve", "--remark", "fine"), exit_code=0),
    Scene(
        says="Promote it: a backup is proved first, then the rehearsed files run, checked before COMMIT.",
        arguments=("promote",),
        exit_code=0,
    ),
)
FORGETFUL_REHEARSED = Scene(
    says="The next one destroys something, and it is meant: a column is dropped, old cart items are deleted.",
    arguments=("run", "--source", "prd", "--target", "uat"),
    exit_code=1,
)
FORGETFUL_ACCEPTED = (
    Scene(
        says="Each loss is accepted by name, with a reason.",
        arguments=(
            "approve",
            "--accept", "drop-column:public.products=tags moved to the search service",
            "--accept", "delete-rows:public.cart_items=bulk carts are invalid",
        ),
        exit_code=0,
    ),
    Scene(says="Promote it too; what it destroys is copied first.", arguments=("promote",), exit_code=0),
)  # fmt: skip
WAY_BACK = (
    Scene(
        says="It was a mistake.  Which ways back are open, and what would stay behind?",
        arguments=("rollback", "--dry-run"),
        exit_code=0,
    ),
    Scene(says="Take it back.", arguments=("rollback",), exit_code=0),
)
LIFE_GOES_ON = """
INSERT INTO public.products (category_id, sku, title, price)
SELECT category_id, 'LATE-' || id, 'written after the promotion', price FROM public.products ORDER BY id LIMIT 7;
DELETE FROM public.cart_items WHERE (cart_id, product_id) IN
    (SELECT cart_id, product_id FROM public.cart_items ORDER BY cart_id, product_id LIMIT 3)
"""
SAFE_SCENES = (
    Scene(
        says="The safe version: two new columns and a new table, through drizzle's journal.",
        arguments=("status", "prd"),
        exit_code=0,
    ),
    Scene(says="Rehearse that one.", arguments=("run", "--source", "prd", "--target", "uat"), exit_code=0),
    Scene(
        says="Its receipt, as a pull request would show it.",
        arguments=("report", "--format", "markdown"),
        exit_code=0,
    ),
)


def play(run_command: RunCommand, console: Console) -> bool:
    """Play the whole story; True when every step gave the verdict that it should.

    Takes about 40 s on two cores.  Leaves nothing behind.
    """
    tell = _Teller(console)
    with _stage(tell) as production:
        before = _row_counts(production)
        shutil.copy(HERE / BAD, "drizzle")
        for scene in BAD_SCENES:
            tell.scene(scene, run_command)
        tell.check("the receipt's losses are what a plain count(*) says", _losses_are_true(before))
        Path("drizzle", BAD).unlink()
        install((*APPLIED, SAFE))
        for scene in SAFE_SCENES:
            tell.scene(scene, run_command)
        tell.check("production still holds every row it held", _row_counts(production) == before)
        for scene in APPROVED:
            tell.scene(scene, run_command)
        tell.check("production has the new columns, and every row it held", _has_ratings(production, before))
        _play_the_way_back(tell, run_command, production)
        tell.check("no clone is left on either server", not _clones_left(production))
    tell.ending()
    return tell.all_well


def _play_the_way_back(tell: "_Teller", run_command: RunCommand, production: Conninfo) -> None:
    """A destructive migration, promoted and taken back, while the shop goes on selling."""
    with connect(production, verb="demo") as session:
        whole = _Shop.read(session)
    install((*APPLIED, SAFE, FORGETFUL))
    for scene in (FORGETFUL_REHEARSED, *FORGETFUL_ACCEPTED):
        tell.scene(scene, run_command)
    with connect(production, verb="demo") as session:
        left = fetch_value(session, "SELECT count(*) FROM public.cart_items")
        tell.check("the old cart items are gone from production", left < whole.cart_items)
        session.execute(LIFE_GOES_ON)
    tell.line("the shop goes on: 7 products are added, 3 cart items are taken out …")
    for scene in WAY_BACK:
        tell.scene(scene, run_command)
    with connect(production, verb="demo") as session:
        now = _Shop.read(session)
        late = fetch_value(session, "SELECT count(*) FROM public.products WHERE sku LIKE 'LATE-%'")
    tell.check("every tag is back", now.tags == whole.tags)
    tell.check("every cart item is back but the 3 that were taken out since", now.cart_items == whole.cart_items - 3)
    tell.check("the 7 products that were added since are still there", late == 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """What the forgetful migration destroys."""

    cart_items: int
    tags: str  # a digest of all of them, by product

    @classmethod
    def read(cls, session: Connection) -> "_Shop":
        row = session.execute(TAGS).fetchone()
        assert row is not None
        return cls(cart_items=row[0], tags=row[1])


TAGS = """
SELECT (SELECT count(*) FROM public.cart_items), md5(string_agg(id || tags::text, ',' ORDER BY id))
FROM public.products WHERE tags IS NOT NULL
"""


class _Teller:
    """Prints what happens and remembers whether it was what should happen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.all_well = True

    def line(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def scene(self, scene: Scene, run_command: RunCommand) -> None:
        self._console.print()
        self._console.print(Text(f"— {scene.says}", style="bold"))
        self._console.print(Text(f"$ pgrehearse {' '.join(scene.arguments)}", style="bold cyan"))
        code = run_command(scene.arguments)
        self.check(f"exit code {code}, as it should be", code == scene.exit_code, f"exit code {scene.exit_code}")

    def check(self, what: str, is_so: bool, wanted: str | None = None) -> None:
        self.all_well = self.all_well and is_so
        if is_so:
            self._console.print(Text(f"  ok  {what}", style="green"))
        else:
            self._console.print(Text(f"  NOT SO: {what}" + (f"; wanted: {wanted}" if wanted else ""), style="bold red"))

    def ending(self) -> None:
        self._console.print()
        if not self.all_well:
            self._console.print(Text("The demo did not go as it should; see NOT SO above.", style="bold red"))
            return
        self._console.print(Text("Now on your own database:", style="bold"))
        for command in (
            "pgrehearse status env:DATABASE_URL drizzle",
            "pgrehearse lint drizzle",
            "pgrehearse run --source env:DATABASE_URL --migrations drizzle",
        ):
            self._console.print(Text(f"  {command}", style="cyan"))


@contextmanager
def _stage(tell: _Teller) -> Iterator[Conninfo]:
    """Two servers, a folder with a configuration, and production filled; all gone afterwards."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="pgrehearse-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(chdir(folder))
        binaries = require_server(MAJOR)
        tell.line(f"starting two PostgreSQL {MAJOR} servers, production and UAT …")
        production = stack.enter_context(LocalServer.create(binaries)).conninfo()
        uat = stack.enter_context(LocalServer.create(binaries)).conninfo()
        stack.enter_context(_variables(DEMO_PRD_URL=production.as_url(), DEMO_UAT_URL=uat.as_url()))
        Path("pgrehearse.toml").write_text(CONFIGURATION, encoding="utf-8")
        tell.line("filling production with a small shop …")
        install(APPLIED)
        fill(production)
        yield production


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    saved = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def install(tags: Sequence[str]) -> None:
    """A drizzle 0.31 folder that holds these migrations, journal and all."""
    meta = Path("drizzle", "meta")
    meta.mkdir(parents=True, exist_ok=True)
    for tag in tags:
        shutil.copy(HERE / "drizzle" / f"{tag}.sql", "drizzle")
    entries = [
        {"idx": index, "version": "7", "when": FIRST_WHEN_MS + index * DAY_MS, "tag": tag, "breakpoints": True}
        for index, tag in enumerate(tags)
    ]
    journal = {"version": "7", "dialect": "postgresql", "entries": entries}
    (meta / "_journal.json").write_text(json.dumps(journal, indent=2), encoding="utf-8")


def fill(production: Conninfo) -> None:
    """As drizzle-kit would have left it: the three migrations applied and recorded; then the rows."""
    source = open_source(Path("drizzle"))
    with connect(production, verb="demo") as session, session.transaction():
        source.ledger.create(session)
        for migration in source.migrations:
            session.execute(migration.content)
            source.ledger.record(session, migration)
        session.execute((HERE / "rows.sql").read_bytes())


def _row_counts(production: Conninfo) -> dict[str, int]:
    with connect(production, verb="demo") as session:
        return {
            table: fetch_value(session, query)
            for table, query in (
                ("public.products", "SELECT count(*) FROM public.products"),
                ("public.cart_items", "SELECT count(*) FROM public.cart_items"),
                ("public.order_items", "SELECT count(*) FROM public.order_items"),
                ("public.page_views", "SELECT count(*) FROM public.page_views"),
            )
        }


def _has_ratings(production: Conninfo, before: dict[str, int]) -> bool:
    with connect(production, verb="demo") as session:
        session.execute("SELECT rating, rating_count FROM public.products LIMIT 1")
    return _row_counts(production) == before


def _losses_are_true(counts: dict[str, int]) -> bool:
    """The newest receipt says that exactly the three tables are lost, with all their rows."""
    from pgrehearse.project import Project

    receipt = Project.open(None).receipt(None)
    lost = {table["name"]: table["rows_lost"] for table in receipt.document["tables"] if table["rows_lost"]}
    return lost == {name: rows for name, rows in counts.items() if name != "public.page_views"}


def _clones_left(production: Conninfo) -> int:
    left = 0
    for conninfo in (production, Conninfo.parse(os.environ["DEMO_UAT_URL"])):
        with connect(conninfo, verb="demo") as session:
            left += fetch_value(session, CLONES_LEFT)
    return left
