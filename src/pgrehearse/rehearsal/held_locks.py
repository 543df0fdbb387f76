"""Locks that stop others for longer than the statement that took them: they are held until the transaction ends."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.postgres.locks import LockMode, strongest

END_SOONER = (
    "A lock ends with its transaction: let what locks briefly and what takes long be files, and so transactions, of "
    "their own."
)


def find_held_locks(traces: Sequence[StatementTrace], *, harmless_ms: float) -> Iterator[Finding]:
    """One finding per transaction and relation that was held for longer than that.

    The time is that of the statements from the one that took the lock on.  Those that rewrote or read the relation
    whole are left out: they are findings of their own.
    """
    for number, group in groupby(enumerate(traces), key=_transaction):
        statements = [trace for _, trace in group]
        for name in dict.fromkeys(name for trace in statements for name in trace.locks):
            finding = _held(name, statements, harmless_ms, alone=number < 0)
            if finding is not None:
                yield finding


def _transaction(numbered: tuple[int, StatementTrace]) -> int:
    """What ran outside a transaction is one by itself."""
    position, trace = numbered
    return trace.transaction if trace.transaction is not None else -1 - position


def _held(name: str, statements: Sequence[StatementTrace], harmless_ms: float, *, alone: bool) -> Finding | None:
    mode: LockMode | None = None
    first: StatementTrace | None = None
    held_ms = 0.0
    for trace in statements:
        taken = trace.locks.get(name)
        if taken is not None and taken.blocks_writes:
            mode = strongest(mode, taken)
            first = first or trace
        if first is not None and name not in trace.rewrites and name not in trace.scans_under_lock:
            held_ms += trace.duration_ms
    if first is None or mode is None or held_ms < harmless_ms:
        return None
    last = statements[-1]
    until = "" if alone or last is first else f", until the transaction ends behind {_place(last)}"
    return Finding(
        hazard="lock-held",
        classes=(HazardClass.BLOCKS_READS if mode.blocks_reads else HazardClass.BLOCKS_WRITES,),
        level=Level.ERROR,
        file=first.migration.path,
        line=first.statement.line,
        column=first.statement.column,
        message=f"holds {mode.value} on {name} for {held_ms:,.0f} ms on the clone{until}: whoever "
        f"{'reads or writes' if mode.blocks_reads else 'writes to'} it waits as long",
        remedy=END_SOONER,
        evidence=Evidence.OBSERVED,
        relation=name,
        measured={"held_ms": round(held_ms, 3), "mode": mode.value},
    )


def _place(trace: StatementTrace) -> str:
    return f"{trace.migration.path}:{trace.statement.line}"
