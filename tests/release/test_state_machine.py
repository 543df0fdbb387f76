"""Whatever people, processes and the application do in whatever order: nothing doubled, skipped, unapproved or lost.

Hypothesis chooses the order.  A killed child ends at a chosen entry of the release ledger, or at a chosen boundary
within the migration; the oracle is `tests.support.release_world` and `tests.support.ledger_story`.
"""

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.support.applying import KillAt
from tests.support.ledger_story import Story, read_story, require_approved_and_recoverable
from tests.support.release_world import EFFECTS, MIGRATIONS, REHEARSER, Outcome, Text, World, at_entry, attempt

from pgrehearse.errors import DatabaseFenced
from pgrehearse.migrations.observer import Observers
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release import apply_watched as apply_module
from pgrehearse.release.gate import names_to_accept
from pgrehearse.rollback import perform as perform_module

# PGREHEARSE_SOAK=1 (make soak): more orders, longer ones, on every major.
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
EXAMPLES = int(os.environ.get("PGREHEARSE_EXAMPLES", "40" if SOAK else "3"))
STEPS = 40 if SOAK else 12
REHEARSALS = 4 if SOAK else 1  # beside the first, which every example shares

pytestmark = [pytest.mark.pg(">= 15" if SOAK else "== 18"), pytest.mark.slow]

WHICH = st.sampled_from([0, 0, 0, 1])  # a receipt, from the newest back
WHO = st.sampled_from(["ann", "bob", REHEARSER])
READY = st.sampled_from([True, True, False])  # whether people first do what the gate asks for
ENTRY = st.sampled_from(["before-entry", "after-entry"])
# The first of each is what the plainest example has: there something is half done.
MOMENT = st.one_of(
    st.tuples(st.just("boundary"), st.sampled_from([9, *range(1, 21)])),
    st.tuples(ENTRY, st.sampled_from([14, *range(1, 19)])),
)
EVENTS: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "insert": st.tuples(st.sampled_from(["customer", "session", "note", "orphan"])),
    "update": st.tuples(st.sampled_from(["nick", "email", "legacy", "label", "body"]), st.booleans()),
    "delete": st.tuples(st.sampled_from(["customers", "sessions", "notes"]), st.booleans()),
    "drift": st.tuples(st.booleans()),
    "expire": st.tuples(),
    "add_a_migration": st.tuples(),
    "edit_or_mend_a_file": st.tuples(),
    "rehearse": st.tuples(),
    "approve": st.tuples(WHO, WHICH, st.sampled_from([True, True, False])),
    "withdraw": st.tuples(WHO, WHICH),
    "promote": st.tuples(WHICH, READY),
    "promote_and_be_killed": st.tuples(WHICH, READY, MOMENT),
    "resume": st.tuples(),
    "two_runners": st.tuples(WHICH, WHICH, READY, st.sampled_from([11, *range(15)])),
    "rollback": st.tuples(st.booleans()),
    "rollback_and_be_killed": st.tuples(st.booleans(), st.tuples(ENTRY, st.sampled_from([2, *range(10)]))),
}
# What is drawn is the distance from this story: so even the plainest example has one.  And one rule for all, because
# hypothesis would leave whole rules out of an example, and few examples are affordable.
STORY = [
    "insert", "promote", "update", "rollback", "promote_and_be_killed", "resume", "update",
    "rollback_and_be_killed", "two_runners", "delete", "rollback", "add_a_migration", "rehearse", "approve",
    "promote", "drift", "rollback", "promote_and_be_killed", "update", "resume", "rollback", "withdraw",
    "two_runners", "insert", "expire", "promote", "edit_or_mend_a_file", "promote_and_be_killed", "rollback",
    "update", "rollback_and_be_killed",
]  # fmt: skip
ON_CUSTOMERS = {"0001_nick", "0002_orphans", "0004_legacy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A receipt, and how production was when it was made."""

    document: Mapping[str, Any]
    files: Mapping[str, str]
    default: str | None
    shape: tuple[object, ...]
    counted: Mapping[str, int]
    oid: int

    @property
    def digest(self) -> str:
        return str(self.document["digest"])

    @property
    def touches_customers(self) -> bool:
        return bool(ON_CUSTOMERS & set(self.files))


class Promotions(RuleBasedStateMachine):
    """One project and one production."""

    world: ClassVar[World]

    @initialize(approved=st.sampled_from([True, True, False]))
    def begin(self, approved: bool) -> None:
        self.world.begin()
        self.number = self.step = 0
        self.happened = [f"begin({approved})"]
        self.expired = False
        self.edited: str | None = None
        self.as_at_first = True  # since the beginning: then the first example's receipt fits
        self.rehearsals_left = REHEARSALS
        self.rehearsals: list[Rehearsal] = []
        self.approvals: dict[str, dict[str, set[str]]] = {}
        self.void: dict[str, set[str]] = {}  # who approved a receipt before what it was promoted as was taken back
        self.taken_back = 0
        self.left: dict[str, tuple[object, ...]] = {}  # what a promotion left of the table that plans depend on
        self.destroyed: dict[str, set[Text]] = {}
        self.seen = self.world.look()
        self.ever = set(self.seen.texts)
        for version in ("0001_nick", "0002_orphans"):
            self.world.write_migration(version)
        self.rehearse()
        if approved:
            self.approve("ann", 0, True)

    @rule(distance=st.integers(0, len(STORY) - 1), data=st.data())
    def happens(self, distance: int, data: st.DataObject) -> None:
        name = STORY[(self.step + distance) % len(STORY)]
        self.step += 1
        arguments = data.draw(EVENTS[name], label=name)
        self.happened.append(f"{name}{arguments}")
        with self.printed_as_it_was():
            getattr(self, name)(*arguments)
            self.seen = self.world.look()

    @contextmanager
    def printed_as_it_was(self) -> Iterator[None]:
        """What failed at one moment of two processes may hold when hypothesis runs it again, and is lost then."""
        try:
            yield
        except Exception:
            print(*self.happened, sep="\n")
            traceback.print_exc(file=sys.stdout)
            raise

    # --- people ---------------------------------------------------------------------------------------------

    def rehearse(self) -> None:
        if not self.as_at_first and not self.rehearsals_left:
            return
        files, half = self.pending(), self.seen.half_way
        outcome = self.world.rehearse(as_at_first=self.as_at_first)
        if outcome.error is not None:
            assert half or not files, outcome
            return
        if not self.as_at_first:
            self.rehearsals_left -= 1
        assert outcome.value["verdict"] not in ("failed", "unmeasured"), outcome.value["not_measured"]
        self.rehearsals.append(
            Rehearsal(
                document=outcome.value,
                files=files,
                default=self.seen.default,
                shape=self.seen.shape,
                counted=self.seen.counted,
                oid=self.seen.oid,
            )
        )

    def approve(self, who: str, which: int, accept: bool) -> None:
        rehearsal = self.rehearsal(which)
        names = set(names_to_accept(rehearsal.document)) if accept else set()
        outcome = self.world.approve(who, rehearsal.digest, names)
        assert outcome.error is None, outcome
        self.approvals.setdefault(rehearsal.digest, {})[who] = names
        self.void.get(rehearsal.digest, set()).discard(who)

    def withdraw(self, who: str, which: int) -> None:
        rehearsal = self.rehearsal(which)
        outcome = self.world.withdraw(who, rehearsal.digest)
        had = self.approvals.get(rehearsal.digest, {}).pop(who, None)
        assert outcome.name == ("ApprovalRefused" if had is None else "done"), outcome

    def add_a_migration(self) -> None:
        missing = [version for version in MIGRATIONS if not self.path(version).exists()]
        if missing:
            self.world.write_migration(missing[0])
            self.as_at_first = False

    def edit_or_mend_a_file(self) -> None:
        if self.edited is not None:
            self.world.write_migration(self.edited)
            self.edited = None
        elif (pending := sorted(self.pending())) and not self.seen.half_way:
            self.edited = pending[-1]
            self.world.write_migration(self.edited, more="-- edited\n")
            self.as_at_first = False

    def expire(self) -> None:
        """All receipts are too old, or, the next time, none."""
        self.expired = not self.expired
        self.world.configure(hours=1e-7 if self.expired else 24)

    # --- production lives ------------------------------------------------------------------------------------

    def insert(self, what: str) -> None:
        number = self.fresh()
        customer = "(SELECT min(id) FROM customers)"
        self.write({
            "customer": f"INSERT INTO customers (id, email) VALUES ({number}, 'email-{number}')",
            "session": f"INSERT INTO sessions VALUES ({number}, {customer}, 'label-{number}')",
            "orphan": f"INSERT INTO sessions VALUES ({number}, 999, 'label-{number}')",
            "note": f"INSERT INTO notes (id, body) VALUES ({number}, 'body-{number}')",
        }[what])  # fmt: skip

    def update(self, what: str, low: bool) -> None:
        table = {"label": "sessions", "body": "notes"}.get(what, "customers")
        if f"{table}.{what}" in self.seen.columns:
            chosen = f"(SELECT {'min' if low else 'max'}(id) FROM {table})"
            self.write(f"UPDATE {table} SET {what} = '{what}-{self.fresh()}' WHERE id = {chosen}")

    def delete(self, table: str, low: bool) -> None:
        self.write(f"DELETE FROM {table} WHERE id = (SELECT {'min' if low else 'max'}(id) FROM {table})")

    def drift(self, touched: bool) -> None:
        number = self.fresh()
        if not touched:
            self.write(f"ALTER TABLE prices ADD COLUMN c{number} int")
        elif self.seen.default is None:
            self.write(f"ALTER TABLE customers ALTER email SET DEFAULT 'd{number}'")
        else:
            self.write("ALTER TABLE customers ALTER email DROP DEFAULT")

    # --- promotion and the way back --------------------------------------------------------------------------

    def make_ready(self, ready: bool) -> None:
        """What the gate asks for, as far as people can do it: nothing is done while a promotion is half-way."""
        if not ready:
            return
        if self.edited is not None:
            self.edit_or_mend_a_file()
        if self.expired:
            self.expire()
        if not self.pending() and not self.seen.half_way:
            self.add_a_migration()
        newest = self.rehearsals[-1]
        fits = (newest.oid, newest.shape, newest.counted) == (self.seen.oid, self.seen.shape, self.seen.counted)
        if not (fits and newest.files == self.pending()) and not self.seen.half_way and self.pending():
            self.rehearse()
        self.approve("ann", 0, True)

    def promote(self, which: int, ready: bool) -> None:
        self.make_ready(ready)
        rehearsal = self.rehearsal(which)
        expected = self.expected(rehearsal)
        outcome = self.watching(lambda: self.world.patiently(lambda: self.world.promote(rehearsal.digest)))
        self.require_told(outcome, expected)

    @staticmethod
    def require_told(outcome: Outcome, expected: set[str] | None) -> None:
        """Exactly these reasons; where there are none, it is promoted."""
        if expected is None:
            return
        if outcome.error is None or outcome.name == "GateClosed":
            found = set(re.findall(r"^  ([a-z]+): ", str(outcome.error or ""), re.MULTILINE))
        else:
            found = {outcome.name}
        assert found == expected, outcome

    def promote_and_be_killed(self, which: int, ready: bool, moment: tuple[str, int]) -> None:
        self.make_ready(ready)
        rehearsal = self.rehearsal(which)
        self.watching(lambda: self.in_a_child(lambda: self.world.promote(rehearsal.digest), moment))

    def resume(self) -> None:
        unfinished = self.story().unfinished
        expected: set[str] | None = {"NothingUnfinished"}
        if unfinished:
            expected = self.expected(next(each for each in self.rehearsals if each.digest == unfinished[-1].receipt))
        outcome = self.watching(lambda: self.world.patiently(self.world.resume))
        self.require_told(outcome, expected)
        assert outcome.name != "NothingUnfinished" or not unfinished, unfinished

    def two_runners(self, which: int, other: int, ready: bool, stop: int) -> None:
        """Both at once, or the second while the first stands still for longer than its lease."""
        self.make_ready(ready)
        first, second = self.rehearsal(which), self.rehearsal(other)

        def run() -> Outcome:
            prepare = at_entry(stop, signal.SIGSTOP, after=True) if stop > 2 else lambda: None
            child = self.world.fork(lambda: self.world.promote(first.digest), prepare)
            if stop > 2:
                _, status = os.waitpid(child, os.WUNTRACED)
                if not os.WIFSTOPPED(status):
                    assert os.waitstatus_to_exitcode(status) in (0, 1)
                    return Outcome()
                self.world.let_leases_end()
            outcome = attempt(lambda: self.world.promote(second.digest, wait_s=0.5))
            os.kill(child, signal.SIGCONT)
            self.world.reap(child)
            return outcome

        self.watching(run)

    def rollback(self, agree: bool) -> None:
        must = self.must_go_inverse()
        outcome = self.watching(lambda: self.world.patiently(lambda: self.world.rollback(agree=agree)))
        if must:
            assert outcome.error is None, outcome
            assert outcome.value.inverse is not None, outcome.value.as_json()

    def rollback_and_be_killed(self, agree: bool, moment: tuple[str, int]) -> None:
        """At entry 0: inside its transaction.  Then again: it goes on, or is told that it is back."""
        self.watching(lambda: self.in_a_child(lambda: self.world.rollback(agree=agree), moment))
        if agree and self.story().going_back:
            outcome = self.watching(lambda: self.world.patiently(self.world.rolled_back_at_last))
            assert outcome.error is None, outcome
            assert not self.story().going_back

    # --- the oracle --------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_doubled_or_skipped(self) -> None:
        with self.printed_as_it_was():
            self.require_nothing_doubled_or_skipped()

    def require_nothing_doubled_or_skipped(self) -> None:
        recorded, effects, story = self.seen.recorded, self.seen.effects, self.story()
        assert list(recorded) == sorted(MIGRATIONS)[: len(recorded)], "a migration was skipped"
        assert story.at_least() <= set(recorded) <= story.at_most(), "the release ledger contradicts the database"
        open_versions = {version for told in story.unfinished for version in told.plan}
        for version, labels in EFFECTS.items():
            found = [effects[label] for label in labels]
            if version in recorded:
                assert found == [1] * len(labels), f"{version}: {found}"
            elif version in open_versions and len(labels) > 1:
                assert found in ([0, 0], [1, 0]), f"{version}: {found}"
            else:
                assert not any(found), f"{version}: {found}"

    @invariant()
    def everything_applied_was_approved_and_recoverable(self) -> None:
        receipts = {rehearsal.digest: rehearsal.document for rehearsal in self.rehearsals}
        with self.printed_as_it_was():
            require_approved_and_recoverable(self.world.entries(), receipts, REHEARSER)

    def watching(self, work: Callable[[], Outcome]) -> Outcome:
        """Do it; whatever text is gone then was to go, and a report names it."""
        self.as_at_first = False
        was = self.seen
        outcome = work()
        try:
            self.seen = now = self.world.look()
        except DatabaseFenced:  # killed while nobody may log in; what became of it is seen after it was gone on with
            assert self.story().going_back, "nobody may log in, and nothing is being taken back"
            return outcome
        self.void_approvals()
        lost, gained = was.texts - now.texts, now.texts - was.texts
        reported = self.world.reported() if lost else ""
        for text in lost:
            assert re.search(rf"\b{text[3]}\b", reported), f"{text} is gone, and no report names it; {outcome}"
        if now.oid != was.oid:  # a restore: what is there is what the backup had
            assert gained <= self.ever
            self.destroyed = {version: self.destroyed.get(version, set()) for version in now.recorded}
            return outcome
        newly = [version for version in now.recorded if version not in was.recorded]
        back = [version for version in was.recorded if version not in now.recorded]
        wanted = {text for version in newly for text in was.doomed.get(version, ())}
        if back:
            assert {text[2] for text in lost if text[3] not in wanted} <= {"nick"}, lost
            expected = set().union(*(self.destroyed.pop(version, set()) for version in back))
            assert gained <= expected, gained - expected
            for text in expected - now.texts:
                assert self.replaced_by_the_application(text, was.texts), f"{text} did not come back"
            return outcome
        assert {text[3] for text in lost} == wanted, (lost, wanted)
        assert not gained, gained
        if newly and (standing := self.story().standing):
            self.left[standing[-1].id] = now.shape
        for version in newly:
            self.destroyed[version] = {text for text in lost if text[3] in was.doomed.get(version, ())}
        return outcome

    def void_approvals(self) -> None:
        """Whoever said yes did not know that it would be taken back."""
        receipts: dict[str, str] = {}
        ended: list[str] = []
        for kind, subject, body in self.world.entries():
            if kind == "promotion-begun":
                receipts[subject] = body["receipt"]
            elif kind == "rollback-ended" and body["outcome"] == "taken-back":
                ended.append(receipts[subject])
            elif kind == "rollback-ended" and body["outcome"] == "swapped":  # and with it what was promoted since
                ended += list(receipts.values())[list(receipts).index(subject) :]
        for digest in ended[self.taken_back :]:
            self.void.setdefault(digest, set()).update(self.approvals.get(digest, {}))
        self.taken_back = len(ended)

    @staticmethod
    def replaced_by_the_application(text: Text, before: frozenset[Text]) -> bool:
        """The row was deleted, or its value written, since the migration."""
        table, number, column, _ = text
        if table == "customers":
            return not any(each[:2] == ("customers", number) for each in before)
        return table == "notes" and column == "body"

    # --- what is known -----------------------------------------------------------------------------------------

    def expected(self, rehearsal: Rehearsal) -> set[str] | None:
        """The reasons that must be told; nothing where it must be promoted; None where either may be."""
        seen = self.seen
        unfinished = self.story().unfinished
        begun = [told for told in unfinished if seen.half_way or set(told.plan) & set(seen.recorded)]
        if begun and begun[-1].receipt != rehearsal.digest:
            if seen.half_way:
                return {"unfinished"} if self.edited is None else None
            begun = []  # whole files of it are applied: a receipt of what is left may take its place
        reasons = set()
        void = self.void.get(rehearsal.digest, set())
        given = self.approvals.get(rehearsal.digest, {})
        approvals = {who: names for who, names in given.items() if who not in void}
        if not set(names_to_accept(rehearsal.document)) <= set().union(*approvals.values()):
            reasons.add("verdict")
        if not set(approvals) - {REHEARSER}:
            reasons.add("approval")
        if begun:
            moved = seen.default != rehearsal.default
            if moved or self.edited is not None or seen.counted != rehearsal.counted:
                return None
            # What is half-way is finished whatever the gate says; files behind it need it, but for the age.
            behind = set(begun[-1].plan) - set(seen.recorded)
            whole = behind - {"0001_nick"} if seen.half_way else behind
            if self.expired and not seen.half_way:
                reasons.add("age")
            return reasons if whole else set()
        if seen.oid != rehearsal.oid:
            reasons.add("identity")
        if self.pending() != rehearsal.files:
            done = {told.receipt for told in self.story().standing if told.outcome is not None}
            return {"promoted"} if rehearsal.digest in done else reasons | {"plan"}
        if rehearsal.touches_customers and seen.shape != rehearsal.shape:
            reasons.add("state")
        if self.expired:
            reasons.add("age")
        differs = any(
            rows != rehearsal.counted[version] for version, rows in seen.counted.items() if version in rehearsal.files
        )
        return reasons or ({"NotAsRehearsed"} if differs else set())

    def must_go_inverse(self) -> bool:
        """The newest promotion ended well, its way back was proved, and nothing that it depends on has drifted."""
        standing = self.story().standing
        if not standing or standing[-1].outcome != "promoted" or self.seen.oid != self.rehearsals[0].oid:
            return False
        newest = standing[-1]
        rehearsal = next(each for each in self.rehearsals if each.digest == newest.receipt)
        rollback = rehearsal.document["rollback"]
        return (
            rollback["type"] in ("lossless", "restorable")
            and bool(rollback["proved"])
            and self.seen.shape == self.left.get(newest.id)
            and self.edited is None
        )

    def story(self) -> Story:
        return read_story(self.world.entries())

    def path(self, version: str) -> Path:
        return self.world.home / "db" / f"{version}.sql"

    def pending(self) -> dict[str, str]:
        recorded = self.seen.recorded
        return {
            version: self.path(version).read_text()
            for version in MIGRATIONS
            if version not in recorded and self.path(version).exists()
        }

    def rehearsal(self, which: int) -> Rehearsal:
        return self.rehearsals[-1 - min(which, len(self.rehearsals) - 1)]

    def fresh(self) -> int:
        self.number += 1
        return 100 + self.number

    def write(self, statement: str) -> None:
        self.world.execute(statement)
        self.as_at_first = False
        self.ever |= self.world.look().texts

    def in_a_child(self, work: Callable[[], Any], moment: tuple[str, int]) -> Outcome:
        where, number = moment
        if where == "boundary":
            prepare = at_boundary(number)
        elif number == 0:
            prepare = in_the_rollback
        else:
            prepare = at_entry(number, signal.SIGKILL, after=where == "after-entry")
        self.world.reap(self.world.fork(lambda: self.world.patient(work), prepare))
        return Outcome()


def at_boundary(number: int) -> Callable[[], None]:
    """The process ends at a boundary within the migration."""

    def prepare() -> None:
        fragile = KillAt(number)
        vars(apply_module)["Observers"] = lambda *observers: Observers(*observers, fragile)

    return prepare


def in_the_rollback() -> None:
    """The process ends when everything is taken back, and nothing is committed."""
    vars(perform_module)["_forget"] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


def test_no_order_of_events_doubles_skips_or_loses_anything(
    server: LocalServer, uat: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    name = f"machine_{os.getpid()}"
    production: Conninfo = server.conninfo(name)
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")

    class Machine(Promotions):
        world = World(production, uat.conninfo(), tmp_path)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # each step takes seconds: what failed is printed as it was
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
        _min_steps=STEPS,
    )
    Machine.world.end()
