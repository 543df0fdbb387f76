"""Hazards by which others wait for a lock, however short it is held."""

from pgrehearse.hazards.catalogue.hazard import BLOCKS_READS, BLOCKS_WRITES, Hazard
from pgrehearse.hazards.finding import Level

WAITING = (
    Hazard(
        id="drop-index",
        classes=(BLOCKS_READS,),
        level=Level.WARNING,
        effect="DROP INDEX {object} waits for, and then blocks, every reader and writer of its table",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
{statement};""",
        source="DROP INDEX, CONCURRENTLY",
    ),
    Hazard(
        id="refresh-matview",
        classes=(BLOCKS_READS,),
        level=Level.WARNING,
        effect="REFRESH MATERIALIZED VIEW {object} lets nobody read it until it is filled again",
        remedy="""\
-- With a unique index on it, readers go on:
{statement};""",
        source="REFRESH MATERIALIZED VIEW, CONCURRENTLY",
    ),
    Hazard(
        id="detach-partition",
        classes=(BLOCKS_READS,),
        level=Level.WARNING,
        effect="DETACH PARTITION lets nobody read {table} or its partition {object} until the transaction ends; "
        "rows of the partition are no longer found through {table}",
        remedy="""\
-- In a file of its own, since it refuses a transaction; not where there is a default partition:
{statement};""",
        source="ALTER TABLE, DETACH PARTITION … CONCURRENTLY",
    ),
    Hazard(
        id="lock-table",
        classes=(BLOCKS_READS, BLOCKS_WRITES),
        level=Level.WARNING,
        effect="{command} on {table} makes others wait until the transaction ends",
        remedy="""\
-- Leave it away: each statement takes the lock that it needs.  Where it must be, do not queue for long:
-- SET lock_timeout = '2s';
-- {statement};""",
        source="LOCK; Explicit Locking",
    ),
    Hazard(
        id="more-statements-under-ael",
        classes=(BLOCKS_READS,),
        level=Level.INFO,
        effect="{command} runs while the transaction holds ACCESS EXCLUSIVE on {table}: "
        "its readers wait for this statement too",
        remedy="""\
-- In a file, and so a transaction, of its own:
-- {statement};""",
        source="Explicit Locking: a lock is held until the end of its transaction",
    ),
    Hazard(
        id="multi-table-ael",
        classes=(BLOCKS_READS,),
        level=Level.INFO,
        effect="locks {table} against everybody while the transaction holds the same on {object}: "
        "a session that takes them in another order deadlocks with it",
        remedy="""\
-- In a file, and so a transaction, of its own:
-- {statement};""",
        source="Explicit Locking, Deadlocks",
    ),
    Hazard(
        id="missing-lock-timeout",
        classes=(BLOCKS_READS,),
        level=Level.INFO,
        effect="waits for its lock on {table} as long as it takes, and everybody else waits behind it",
        remedy="""\
-- Give up soon and try again (pgrehearse does so by itself):
SET lock_timeout = '2s';
-- {statement};""",
        source="Client Connection Defaults, lock_timeout; lock.c: waiters queue in order",
    ),
    Hazard(
        id="drop-constraint-lock",
        classes=(BLOCKS_READS, BLOCKS_WRITES),
        level=Level.INFO,
        effect="dropping {constraint} takes ACCESS EXCLUSIVE on {table} for a moment, and queues for it",
        remedy="""\
SET lock_timeout = '2s';
-- {statement};""",
        source="ALTER TABLE, DROP CONSTRAINT; AlterTableGetLockLevel in tablecmds.c",
    ),
    Hazard(
        id="create-trigger-lock",
        classes=(BLOCKS_WRITES,),
        level=Level.INFO,
        effect="CREATE TRIGGER takes SHARE ROW EXCLUSIVE on {table} for a moment, and queues for it",
        remedy="""\
SET lock_timeout = '2s';
-- {statement};""",
        source="Explicit Locking, SHARE ROW EXCLUSIVE",
    ),
    Hazard(
        id="replica-identity",
        classes=(BLOCKS_READS,),
        level=Level.INFO,
        effect="{command} on {table} takes ACCESS EXCLUSIVE for a moment; logical replication identifies rows "
        "by it from now on",
        remedy="""\
SET lock_timeout = '2s';
-- {statement};""",
        source="ALTER TABLE, REPLICA IDENTITY",
    ),
    Hazard(
        id="storage",
        classes=(BLOCKS_READS,),
        level=Level.INFO,
        effect="{command} on {table} takes ACCESS EXCLUSIVE for a moment, and changes only what is written from now on",
        remedy="""\
SET lock_timeout = '2s';
-- {statement};""",
        source="ALTER TABLE, SET STORAGE",
    ),
)
