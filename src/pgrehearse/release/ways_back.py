"""Which ways back are open for a promotion, as production is now, and what each would leave behind."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgrehearse.counted import counted
from pgrehearse.errors import PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.expectation import Verb
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.receipt import Receipt, find_receipt
from pgrehearse.rehearsal.tolerated import leaves_of
from pgrehearse.release.applied_since import AppliedSince, find_applied_since
from pgrehearse.release.backup.dump_backup import open_backup
from pgrehearse.release.examine import STATEMENT_TIMEOUT_MS
from pgrehearse.release.history import PromotionRecord, read_promotions
from pgrehearse.release.interrupted_rollback import BY_INVERSE
from pgrehearse.release.inverse_rows import ask_rows_of_inverse
from pgrehearse.release.lease import DEFAULT_TTL_S
from pgrehearse.release.lineage import find_taken_back
from pgrehearse.release.promotion import STEP
from pgrehearse.release.promotion_run import APPLY, SHOWN_IMAGES
from pgrehearse.release.recoverability import DUMP, EXTERNAL, Proof
from pgrehearse.release.restore.from_backup import plan_restore
from pgrehearse.release.rows import ROWS_DIFFER
from pgrehearse.release.standing import find_lost, is_nothing_applied
from pgrehearse.release.touched import Touched, differences_where_touched, find_touched
from pgrehearse.rollback.image import Image, ImageState, find_images
from pgrehearse.rollback.left_behind import find_left_behind
from pgrehearse.rollback.perform import Ddl
from pgrehearse.schema.packed import unpack
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema

LOSES = "loses-writes"
RESTORABLE = "restorable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way back, and whether it can be gone now."""

    type: str  # lossless, restorable, loses-writes
    why_not: tuple[str, ...]  # () when it is open
    told: tuple[str, ...]  # what it would do, and what would be left behind

    @property
    def is_open(self) -> bool:
        return not self.why_not

    def as_json(self) -> dict[str, Any]:
        return {"type": self.type, "open": self.is_open, "why_not": list(self.why_not), "told": list(self.told)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBackRequest:
    """What is to be taken back, and what it takes."""

    production: Conninfo  # of a user who may read everything, and for a restore rename databases
    migrate: Conninfo  # logs in as the role that migrates
    promotion: PromotionRecord
    receipt: Receipt | None
    migrations: Sequence[Migration]  # the promotion's plan
    ledger: MigrationLedger
    directory: Path  # where exported rows go
    holder: str
    by: Mapping[str, Any]
    limits: Limits
    jobs: int = 2
    lease_ttl_s: float = DEFAULT_TTL_S
    reapply: bool = False  # of a restore: write back what the application wrote since
    only: str | None = None  # "inverse" or "restore"; None: the best that is open
    precondition_timeout_ms: int = STATEMENT_TIMEOUT_MS  # of one question about the rows that the inverse needs


class Looking:
    """Which ways are open, as production is now."""

    def __init__(self, request: TakeBackRequest, releases: ReleaseLedger, session: Connection) -> None:
        self._request = request
        self._releases = releases
        self._session = session
        self.document = request.receipt.document if request.receipt is not None else None
        self.images: tuple[Image, ...] = find_images(session, id=request.promotion.id)
        self.before: Schema | None = None
        self.after: Schema | None = None
        self.touched: Touched | None = None
        if self.document is not None:
            objects = self.document["receipt"]["schema_objects"]
            self.before, self.after = unpack(objects["before"]), unpack(objects["after"])
            texts = [migration.content.decode("utf-8", "replace") for migration in request.migrations]
            self.touched = find_touched(self.document, self.before, self.after, texts)

    def ways(self, *, count_rows: bool) -> tuple[Way, ...]:
        """``count_rows``: say which rows each would leave behind or trip over, which takes reading them."""
        found = []
        if self._request.only in (None, "inverse"):
            found.append(self._inverse(count_rows=count_rows))
        if self._request.only in (None, "restore"):
            found.append(self._restore())
        return tuple(found)

    # --- the inverse -----------------------------------------------------------------------------------------

    def _inverse(self, *, count_rows: bool) -> Way:
        if self.document is None:
            return Way(type="lossless", why_not=("nobody rehearsed this promotion, so no inverse was proved",), told=())
        rollback = self.document["rollback"]
        kind = rollback.get("type", "not-measured")
        if kind not in BY_INVERSE or not rollback["proved"]:
            reasons = tuple(rollback.get("reasons", ())) or ("the rehearsal did not look at the way back",)
            return Way(type="lossless", why_not=reasons, told=())
        why_not = [*self._why_not_whole(), *self.why_not_newest(self._session), *self.why_not_as_left(self._session)]
        differing = self._rows_beyond()
        if kind == RESTORABLE or differing:
            kind = RESTORABLE
            why_not += self._why_no_images(rollback, differing)
        told = [counted(len(rollback["statements"]) + len(rollback["statements_after_rows"]), "statement")]
        if rollback["down_ms"] is not None:
            told.append(f"took {rollback['down_ms']:,.0f} ms in the rehearsal")
        told += [
            f"put back from its image: {image.relation} ({counted(image.rows, 'row')})"
            for image in self.images[:SHOWN_IMAGES]
        ]
        if rest := self.images[SHOWN_IMAGES:]:
            rows = sum(image.rows for image in rest)
            told.append(f"put back from their images: {counted(len(rest), 'more table')} ({counted(rows, 'row')})")
        told += [f"left behind: {sentence}" for sentence in rollback["left_behind"]]
        told += [f"not as in the rehearsal: {each['text']}" for each in differing]
        if count_rows and not why_not:
            of_rows = ask_rows_of_inverse(
                self._session, Ddl.of_receipt(rollback), self.images, self.read_schema(self._session),
                statement_timeout_ms=self._request.precondition_timeout_ms,
            )  # fmt: skip
            why_not += of_rows.why_not
            told += of_rows.told
            told += find_left_behind(self._session, self.images, self.document["schema"]["changes"])
        return Way(type=kind, why_not=tuple(why_not), told=tuple(told))

    def _why_not_whole(self) -> list[str]:
        """Its files must be there as they were promoted: their bytes name the rows of the migration ledger."""
        rows = self._request.ledger.read(self._session)
        here = {each.version: each for each in self._request.migrations}
        reasons = []
        for version, sha256 in self._request.promotion.digests.items():
            if version not in here:
                reasons.append(f"its file {version} is not in the folder any more: put it back, as it was promoted")
            elif here[version].sha256 != sha256:
                reasons.append(f"its file {version} was edited since: put it back as it was promoted")
            elif not self._request.ledger.is_applied(here[version], rows):
                reasons.append(f"not applied whole: {version}")
        return reasons

    def _find_later(self, session: Connection) -> list[PromotionRecord]:
        """Promotions since, that stand and have changed something, or may have."""
        back = find_taken_back(self._releases)
        return [
            record
            for record in read_promotions(self._releases, self._request.promotion.key)
            if record.seq > self._request.promotion.seq
            and record.id not in back
            and not self._has_changed_nothing(record, session)
        ]

    def _find_applied(self, session: Connection, later: Sequence[PromotionRecord]) -> AppliedSince:
        """What the migration ledgers record behind this promotion beside what those later promotions planned."""
        return find_applied_since(
            session,
            self._session,
            self._request.promotion,
            self._request.migrations,
            self._request.ledger,
            known={sha256 for record in later for sha256 in record.digests.values()},
        )

    def why_not_newest(self, session: Connection) -> list[str]:
        later = self._find_later(session)
        done = [record.id for record in later if record.outcome is not None]
        reasons = [f"promoted since, and to be taken back first: {', '.join(done)}"] if done else []
        return (
            reasons
            + [
                f"promotion {record.id} was begun since and is not finished: `pgrehearse resume` finishes it, "
                f"`pgrehearse rollback {record.id}` takes back what it applied"
                for record in later
                if record.outcome is None
            ]
            + list(self._find_applied(session, later).why_not_newest)
        )

    def _has_changed_nothing(self, record: PromotionRecord, session: Connection) -> bool:
        """Whether a promotion was left before it changed anything, or a failover has lost what it changed."""
        if self._is_lost(record, session):
            return True
        if record.outcome is not None:
            return False
        if not any(step.body["step"] == APPLY for step in self._releases.entries(kind=STEP, subject=record.id)):
            return True
        if record.receipt is None or not self._request.migrations:
            return False  # which ledger would tell is not known
        kind = SourceKind(find_receipt(self._releases, record.receipt).document["receipt"]["source_kind"])
        if kind is SourceKind.AD_HOC:
            return is_nothing_applied(session, self._releases, record, OwnLedger(kind=kind), kind)
        if kind is not self._request.migrations[0].kind:
            return False
        return is_nothing_applied(session, self._releases, record, self._request.ledger, kind)

    def _is_lost(self, record: PromotionRecord, session: Connection) -> bool:
        own = self._request.ledger
        try:
            ledgers = self._ledgers_of(record)
            return bool(ledgers) and all(
                find_lost(session if ledger.table == own.table else self._session, self._releases, record, ledger, kind)
                for kind, ledger in ledgers
            )
        except PgRehearseError:  # its receipt is not there, or a ledger cannot be read
            return False

    def _ledgers_of(self, record: PromotionRecord) -> tuple[tuple[SourceKind, MigrationLedger], ...]:
        """Each that may record it; none where it is not known which would."""
        if not self._request.migrations:
            return ()
        here = self._request.migrations[0].kind
        known: dict[SourceKind, MigrationLedger] = {
            **{kind: OwnLedger(kind=kind) for kind in (SourceKind.SQL_FOLDER, SourceKind.AD_HOC)},
            here: self._request.ledger,
        }
        if record.receipt is not None:
            kind = SourceKind(find_receipt(self._releases, record.receipt).document["receipt"]["source_kind"])
            return ((kind, known[kind]),) if kind in known else ()
        if here is SourceKind.AD_HOC:  # of which folder it may have been is not known
            return ()
        return tuple((kind, known[kind]) for kind in (SourceKind.AD_HOC, here))

    def why_not_as_left(self, session: Connection) -> list[str]:
        """What differs where the plan touches it from what the promotion left; asked again under the lock."""
        assert self.after is not None
        assert self.touched is not None
        now = self.read_schema(session)
        differences = differences_where_touched(self.after, now, self.touched, in_any_order=True)
        return [f"changed since the promotion: {line}" for line in differences]

    def _rows_beyond(self) -> list[Mapping[str, Any]]:
        """Where this promotion wrote more rows than the rehearsal did, as it noted before each COMMIT."""
        steps = self._releases.entries(kind=STEP, subject=self._request.promotion.id)
        noted = [step.body for step in steps if step.body["state"] == ROWS_DIFFER]
        return list({each["text"]: each for each in noted if each["here"] > each["rehearsed"]}.values())

    def _why_no_images(self, rollback: Mapping[str, Any], differing: Sequence[Mapping[str, Any]]) -> list[str]:
        settled = {image.relation for image in self.images if image.state is ImageState.SETTLED}
        missing = sorted({image["relation"] for image in rollback["before_images"]} - settled)
        reasons = [f"there is no settled before-image of {', '.join(missing)}"] if missing else []
        return reasons + [
            f"production destroyed more than the rehearsal did, and no before-image holds it: {each['text']}"
            for each in differing
            if each["verb"] != Verb.INSERTS.value and not self._tables_of(each["relation"]) <= settled
        ]

    def _tables_of(self, relation: str | None) -> Set[str]:
        """Those that a count of rows is about, as they were called before; what no counter counted is in no image."""
        if relation is None:
            return {""}
        assert self.document is not None
        assert self.before is not None
        assert self.after is not None
        before, after = leaves_of(self.before, {relation}), leaves_of(self.after, {relation})
        return {
            table["name"]
            for table in self.document["tables"]
            if table["name"] is not None and (table["name"] in before or table["name_after"] in after)
        }

    def read_schema(self, session: Connection) -> Schema:
        return read_schema(session, ignore_relations=frozenset({self._request.ledger.table}))

    # --- the restore -----------------------------------------------------------------------------------------

    def _restore(self) -> Way:
        promotion = self._request.promotion
        backup = self.backup()
        if backup is None:
            external = [proof.summary for proof in promotion.proofs if proof.way == EXTERNAL]
            told = tuple(f"your own system's: {summary}" for summary in external)
            return Way(type=LOSES, why_not=("no dump was taken before this promotion",), told=told)
        try:
            opened = open_backup(Path(backup.facts["directory"]))
            opened.require_whole(digest=backup.facts["digest"])
            plan = plan_restore(self._request.production, opened, id=promotion.id, reapply=self._request.reapply)
        except PgRehearseError as error:
            return Way(type=LOSES, why_not=(str(error),), told=())
        lines = [f"writes since {plan.taken_at.isoformat(timespec='seconds')} are exported, not kept"]
        later = self._find_later(self._session)
        if later:
            ids = ", ".join(record.id for record in later)
            lines.append(f"promoted since, and taken back with it, for the backup is older: {ids}")
        for each in self._find_applied(self._session, later).found:
            lines.append(f"applied since, and taken back with it, for the backup is older: {each}")
        lines += plan.not_reapplied
        return Way(type=LOSES, why_not=plan.in_the_way, told=(*lines, *plan.told))

    def backup(self) -> Proof | None:
        """The newest dump of the promotion."""
        return next((proof for proof in reversed(self._request.promotion.proofs) if proof.way == DUMP), None)
