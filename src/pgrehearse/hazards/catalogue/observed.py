"""Hazards that only a rehearsal sees: what rows, queries, traffic and the clone's catalog showed after the plan ran.

Their findings carry messages with figures, written where they are measured; what stands here is for who looks one up.
"""

from pgrehearse.hazards.catalogue.hazard import (
    BLOCKS_READS,
    BLOCKS_WRITES,
    BREAKS_RUNNING_APP,
    DATA_LOSS,
    FAILS,
    GUARANTEE_LOST,
    REWRITES_TABLE,
    SCANS_UNDER_LOCK,
    Hazard,
)
from pgrehearse.hazards.finding import Level

OBSERVED = (
    # --- the plan itself -----------------------------------------------------------------------------------
    Hazard(
        id="migration-failed",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="a statement of the plan fails on the clone, as it would in production",
        remedy="""\
-- Mend the statement that the finding names; nothing of its transaction is left behind:
-- {statement};""",
        source="Appendix A, PostgreSQL Error Codes",
    ),
    Hazard(
        id="lock-held",
        classes=(BLOCKS_READS, BLOCKS_WRITES),
        level=Level.ERROR,
        effect="a transaction holds a lock on {table} for longer than a second: who reads or writes it waits as long",
        remedy="""\
-- What takes long before the statement that locks, or in a transaction of its own:
-- {statement};""",
        source="Explicit Locking: a lock is held until the end of its transaction",
    ),
    Hazard(
        id="rewrites-table",
        classes=(REWRITES_TABLE,),
        level=Level.ERROR,
        effect="{table} was written anew, which its text did not show",
        remedy="""\
-- `pgrehearse explain change-column-type` shows how a column gets another type without that; a function that runs
-- ALTER TABLE belongs into the migration itself, where lint sees it.""",
        source="ALTER TABLE, Notes: rewriting a table",
    ),
    Hazard(
        id="scans-under-lock",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.ERROR,
        effect="all of {table} was read under a lock that stops its writers, which its text did not show",
        remedy="""\
-- What reads rows goes into a transaction without such a lock; a constraint is added NOT VALID and validated later:
ALTER TABLE {table} ADD CONSTRAINT {constraint} {definition} NOT VALID;
-- ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="Explicit Locking; ALTER TABLE, NOT VALID",
    ),
    # --- beside other sessions -----------------------------------------------------------------------------
    Hazard(
        id="stall-over-max-block",
        classes=(BLOCKS_READS, BLOCKS_WRITES),
        level=Level.ERROR,
        effect="beside traffic on {table} a read or write waited longer than others may be held up (max_block)",
        remedy="""\
-- Shorter transactions, each with one lock that others wait for; what refuses a transaction by itself:
-- {statement};""",
        source="Explicit Locking: whoever comes behind a waiting lock waits, too",
    ),
    Hazard(
        id="deadlock-with-traffic",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="beside traffic the server ended deadlocks with an error: the plan takes several locks, and others took "
        "them in another order",
        remedy="""\
-- One such lock in each transaction, so that there is no order to differ in:
-- {statement};""",
        source="Explicit Locking, Deadlocks",
    ),
    Hazard(
        id="fails-under-traffic",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="alone the plan runs through, and beside traffic it does not",
        remedy="""\
-- In a quiet hour, with short waits that are tried again:
SET lock_timeout = '2s';""",
        source="Client Connection Defaults, lock_timeout",
    ),
    # --- the application's queries -------------------------------------------------------------------------
    Hazard(
        id="query-breaks",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="a statement of the running application worked before the plan, and fails after it",
        remedy="""\
-- First deploy an application that does without what goes; then, in a later migration:
-- {statement};""",
        source="pg_stat_statements; PREPARE",
    ),
    Hazard(
        id="query-slower",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="a query of the application gets a plan that costs several times what it cost before",
        remedy="""\
-- Where statistics are new or gone, before the application notices; else look at both plans:
ANALYZE {table};""",
        source="EXPLAIN; Planner Statistics",
    ),
    Hazard(
        id="query-result-changes",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="a query of the application still runs, and gives other columns or types than before",
        remedy="""\
-- Let the application name the columns that it reads, in place of SELECT *, before the plan runs:
-- SELECT <its columns> FROM {table};""",
        source="PREPARE, Notes: cached plan must not change result type",
    ),
    Hazard(
        id="index-in-use-dropped",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="an index is gone that the plans of the application's queries used",
        remedy="""\
-- Keep it, or build what takes its place first, in a file of its own:
CREATE INDEX CONCURRENTLY ON {table} ({column});""",
        source="Examining Index Usage",
    ),
    # --- promises that rows break --------------------------------------------------------------------------
    Hazard(
        id="broken-foreign-key",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows of {table} have no parent any more, although a foreign key promises one",
        remedy="""\
-- Give them a parent, or delete them, in the same plan; then have the promise proved:
ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="ALTER TABLE, DISABLE TRIGGER; session_replication_role",
    ),
    Hazard(
        id="broken-check",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows of {table} break a CHECK, which a function that it calls, or NOT VALID, let through",
        remedy="""\
-- Mend the rows in the same plan; then have the promise proved:
ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="CREATE TABLE, CHECK; Constraints: a check on other rows or tables",
    ),
    Hazard(
        id="broken-not-null",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows of {table} hold NULL where a NOT NULL promises a value",
        remedy="""\
-- Fill them in, in the same plan:
-- UPDATE {table} SET {column} = … WHERE {column} IS NULL;""",
        source="CREATE TABLE, NOT NULL; ALTER TABLE, NOT NULL … NOT VALID",
    ),
    Hazard(
        id="broken-unique",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows of {table} share a key that is to be unique",
        remedy="""\
-- Keep one of each, in the same plan; then build the index anew:
REINDEX TABLE CONCURRENTLY {table};""",
        source="REINDEX: an index whose expression or sort order changed",
    ),
    Hazard(
        id="broken-exclusion",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows of {table} conflict, although an exclusion constraint says that none do",
        remedy="""\
-- Keep one of each, in the same plan; an index whose operator or expression changed is built anew:
REINDEX TABLE {table};""",
        source="CREATE TABLE, EXCLUDE",
    ),
    Hazard(
        id="broken-domain",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="values of {table} break a constraint of their domain",
        remedy="""\
-- Mend the values in the same plan; then have the promise proved:
ALTER DOMAIN {type} VALIDATE CONSTRAINT {constraint};""",
        source="ALTER DOMAIN, NOT VALID; CREATE DOMAIN, Notes",
    ),
    Hazard(
        id="broken-partition-bound",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows lie in a partition whose bound does not hold them: queries by the key do not find them",
        remedy="""\
-- Write them into {table} again, which puts them where they belong, in the same plan:
-- UPDATE {table} SET {column} = {column};""",
        source="ALTER TABLE, ATTACH PARTITION; Table Partitioning",
    ),
    Hazard(
        id="broken-enum",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="rows of {table} hold a label that their enum does not have: reading them fails",
        remedy="""\
-- The label again, as it was; the catalogs are nothing to write into:
ALTER TYPE {type} ADD VALUE {label};""",
        source="Enumerated Types; pg_enum",
    ),
    Hazard(
        id="stale-generated-column",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="a stored generated column of {table} holds other values than its expression gives now",
        remedy="""\
-- Have it worked out again, in batches by the key; of a column that its expression reads, else it stays as it is:
-- UPDATE {table} SET {column} = {column};""",
        source="Generated Columns: an expression may use immutable functions only",
    ),
    Hazard(
        id="stale-index",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="an index does not hold what the rows of {table} hold: queries that use it miss rows",
        remedy="""\
-- After whatever its expression calls was changed:
REINDEX TABLE CONCURRENTLY {table};""",
        source="CREATE INDEX: functions in an index must be immutable; amcheck",
    ),
    Hazard(
        id="invalid-index",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="an index is INVALID: it is maintained and never used, and promises nothing",
        remedy="""\
-- Each in a file of its own:
DROP INDEX CONCURRENTLY {object};
-- {statement};""",
        source="CREATE INDEX, Building Indexes Concurrently",
    ),
    Hazard(
        id="constraint-not-validated",
        classes=(GUARANTEE_LOST,),
        level=Level.INFO,
        effect="a constraint of {table} is NOT VALID after the plan: it holds for new rows only",
        remedy="""\
-- Later, while readers and writers go on:
ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="ALTER TABLE, VALIDATE CONSTRAINT",
    ),
    Hazard(
        id="stale-matview",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="a materialized view and what its query gives now differ: its readers see what was before the plan",
        remedy="""\
-- At the end of the same plan; with a unique index on it, readers go on:
REFRESH MATERIALIZED VIEW CONCURRENTLY {object};""",
        source="REFRESH MATERIALIZED VIEW",
    ),
    Hazard(
        id="matview-not-populated",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="a materialized view is not populated any more: every read of it fails",
        remedy="""\
-- In the same plan:
REFRESH MATERIALIZED VIEW {object};""",
        source="REFRESH MATERIALIZED VIEW, WITH NO DATA",
    ),
    Hazard(
        id="collation-version",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="a collation is of another version than the server's library: indexes that sort by it may miss rows",
        remedy="""\
-- The indexes that sort by it first:
REINDEX TABLE CONCURRENTLY {table};
-- ALTER COLLATION {object} REFRESH VERSION;""",
        source="ALTER COLLATION, Notes",
    ),
    Hazard(
        id="damaged-table",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="verify_heapam() finds {table} damaged on the clone",
        remedy="""\
-- Rehearse on another machine first; where it is found again, ask production, and restore from a backup:
-- SELECT * FROM verify_heapam({oid});""",
        source="amcheck, verify_heapam",
    ),
    # --- what goes, or is shown to more --------------------------------------------------------------------
    Hazard(
        id="large-objects-lost",
        classes=(DATA_LOSS,),
        level=Level.ERROR,
        effect="large objects are gone, or hold something else",
        remedy="""\
-- If it is meant, export them first with lo_export, or with pg_dump --large-objects:
-- SELECT lo_export({oid}, '<file>');""",
        source="Large Objects",
    ),
    Hazard(
        id="orphaned-large-objects",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="no column refers any more to large objects that are there: nobody will find or remove them",
        remedy="""\
-- Before the column goes, in the same plan:
-- SELECT lo_unlink({column}) FROM {table};""",
        source="Large Objects; lo, vacuumlo",
    ),
    Hazard(
        id="sequence-exhausted",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="a sequence has no number left: the next insert fails",
        remedy="""\
-- As far as its columns' type reaches:
ALTER SEQUENCE {sequence} NO MAXVALUE;""",
        source="CREATE SEQUENCE, MAXVALUE",
    ),
    Hazard(
        id="lost-grants",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="a role may not do any more with {object} what it could before: what is made anew has no grants",
        remedy="""\
-- In the same transaction as what takes them away:
-- GRANT SELECT, INSERT, UPDATE, DELETE ON {object} TO <the application's role>;""",
        source="GRANT; DROP TABLE: rights go with the object",
    ),
    Hazard(
        id="set-unlogged",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="{table} is unlogged now: a crash empties it, and no replica or backup of the WAL has it",
        remedy="""\
-- At the end of the plan, where it was meant for its time only; it writes the table once more:
ALTER TABLE {table} SET LOGGED;""",
        source="CREATE TABLE, UNLOGGED",
    ),
    # --- what the files declare ----------------------------------------------------------------------------
    Hazard(
        id="declaration-not-met",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="what a file declares (`-- pgrehearse: expect …`) did not happen as it says",
        remedy="""\
-- Mend the statement, or say above it what it is meant to do:
-- pgrehearse: expect deletes {table} where …""",
        source="docs/declared-intent.md",
    ),
    Hazard(
        id="beyond-declaration",
        classes=(DATA_LOSS,),
        level=Level.ERROR,
        effect="more happened to {table} than a file declares (`-- pgrehearse: expect …`)",
        remedy="""\
-- Narrow the statement, or widen what is declared above it:
-- pgrehearse: expect deletes {table} where …""",
        source="docs/declared-intent.md",
    ),
)
