"""Table-level lock modes, as `pg_locks.mode` spells them, weakest first (the manual, 13.3.1)."""

from enum import Enum


class LockMode(Enum):
    ACCESS_SHARE = "AccessShareLock"
    ROW_SHARE = "RowShareLock"
    ROW_EXCLUSIVE = "RowExclusiveLock"
    SHARE_UPDATE_EXCLUSIVE = "ShareUpdateExclusiveLock"
    SHARE = "ShareLock"
    SHARE_ROW_EXCLUSIVE = "ShareRowExclusiveLock"
    EXCLUSIVE = "ExclusiveLock"
    ACCESS_EXCLUSIVE = "AccessExclusiveLock"

    @property
    def strength(self) -> int:
        """0 (ACCESS SHARE) to 7 (ACCESS EXCLUSIVE), in the order of the manual's conflict table."""
        return _STRENGTH[self]

    @property
    def blocks_writes(self) -> bool:
        """Whether INSERT, UPDATE and DELETE of others wait: SHARE and stronger."""
        return self.strength >= LockMode.SHARE.strength

    @property
    def blocks_reads(self) -> bool:
        """Whether SELECT of others waits: ACCESS EXCLUSIVE alone."""
        return self is LockMode.ACCESS_EXCLUSIVE


_STRENGTH = {mode: number for number, mode in enumerate(LockMode)}


def strongest(first: LockMode | None, second: LockMode) -> LockMode:
    return second if first is None or second.strength > first.strength else first
