"""What is said of the run under traffic: findings, and what was not measured."""

from collections.abc import Iterator

from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.rehearsal.contention import Contention, Outcome, TrafficFigures, TrafficKind
from pgrehearse.rehearsal.judge import Unmeasured

SHORTEN_IT = (
    "Let what locks strongly be short and by itself: NOT VALID first and VALIDATE later, indexes CONCURRENTLY, changes "
    "of many rows in batches that commit; or promote with a longer max_block while nobody works."
)
ONE_ORDER = (
    "Let a transaction lock what others use too in the order in which they do, the parent before its children, or one "
    "table per transaction."
)
RETRY_LATER = (
    "Split the transaction, so that it needs fewer strong locks at once, or promote at a quieter time; a longer "
    "lock_timeout makes others wait behind it for longer."
)
# Of what may be waited, the share that the server itself must have seen: the rest of a stall may be a busy machine.
SEEN_BY_SERVER = 0.8


def find_contention_findings(found: Contention | None) -> tuple[Finding, ...]:
    """One finding per relation that stalled its users for too long, and what went wrong between plan and traffic."""
    if found is None or found.outcome is not Outcome.MEASURED:
        return ()
    return (*_stalls(found), *_deadlocks(found), *_failed(found))


def find_unmeasured_contention(found: Contention | None) -> Iterator[Unmeasured]:
    """What the application would feel, and could not be looked at."""
    if found is None:
        return
    if found.outcome is Outcome.NOT_MEASURED:
        yield Unmeasured(what="contention", reason=found.reason or "", decisive=False)
    for what, reason in (found.left_out or {}).items():
        yield Unmeasured(what=f"contention: {what}", reason=reason, decisive=False)


def _stalls(found: Contention) -> Iterator[Finding]:
    if found.max_block_ms is None or found.waits is None:
        return
    if found.waits.behind_plan_ms < SEEN_BY_SERVER * found.max_block_ms:
        return
    worst: dict[str, TrafficFigures] = {}
    for each in found.traffic:
        if each.longest_ms is None or each.longest_ms <= found.max_block_ms:
            continue
        before = worst.get(each.what)
        if before is None or (before.longest_ms or 0.0) < each.longest_ms:
            worst[each.what] = each
    for each in worst.values():
        place = found.place_of(each.what)
        reads = each.kind is TrafficKind.READ
        mode = f"which it locks with {place.mode.value}" if place is not None else "which it holds up"
        yield Finding(
            hazard="stall-over-max-block",
            classes=(HazardClass.BLOCKS_READS if reads else HazardClass.BLOCKS_WRITES,),
            level=Level.ERROR,
            file=place.file if place is not None else None,
            line=place.line if place is not None else None,
            message=f"beside {found.level.value} traffic a {'read' if reads else 'write'} of {each.what}, {mode}, took "
            f"{each.longest_ms or 0.0:,.0f} ms, and others may wait for {found.max_block_ms:,.0f} ms (max_block): a "
            "promotion would give way then, and not get through",
            remedy=SHORTEN_IT,
            evidence=Evidence.OBSERVED,
            relation=each.what if place is not None else None,
            measured={
                "longest_stall_ms": round(each.longest_ms or 0.0, 3),
                "max_block_ms": found.max_block_ms,
                "plan_waited_ms": round(found.waits.plan_ms, 3),
                "longest_queue": found.waits.longest_queue,
            },
        )


def _deadlocks(found: Contention) -> Iterator[Finding]:
    if not found.deadlocks:
        return
    yield Finding(
        hazard="deadlock-with-traffic",
        classes=(HazardClass.BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        message=f"beside {found.level.value} traffic the server ended {found.deadlocks:,} "
        f"{'deadlock' if found.deadlocks == 1 else 'deadlocks'} with an error: the plan takes several locks, and "
        "others took them in another order",
        remedy=ONE_ORDER,
        evidence=Evidence.OBSERVED,
        measured={"deadlocks": found.deadlocks},
    )


def _failed(found: Contention) -> Iterator[Finding]:
    if found.plan_error is None:
        return
    yield Finding(
        hazard="fails-under-traffic",
        classes=(HazardClass.FAILS,),
        level=Level.ERROR,
        message=f"alone the plan runs through, and beside {found.level.value} traffic it does not: {found.plan_error}",
        remedy=RETRY_LATER,
        evidence=Evidence.OBSERVED,
        measured={"lock_timeouts": found.lock_timeouts},
    )
