"""Hazards by which a table is read, or an index built, while others cannot use the table."""

from pgrehearse.hazards.catalogue.hazard import BLOCKS_READS, BLOCKS_WRITES, SCANS_UNDER_LOCK, Hazard
from pgrehearse.hazards.finding import Level

SCANS = (
    Hazard(
        id="set-not-null",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="SET NOT NULL on {table}.{column} reads the whole table while nobody can read or write it",
        remedy="""\
ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID;
-- In a later migration; with the check proved, SET NOT NULL reads nothing:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {check};
-- ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;
-- ALTER TABLE {table} DROP CONSTRAINT {check};""",
        source="ALTER TABLE, SET NOT NULL; NotNullImpliedByRelConstraints in tablecmds.c",
    ),
    Hazard(
        id="add-check",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="the check on {table} is proved by reading the whole table while nobody can read or write it",
        remedy="""\
{column_first}ALTER TABLE {table} ADD {definition};
-- In a later migration, while readers and writers go on:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="ALTER TABLE, Notes: NOT VALID",
    ),
    Hazard(
        id="add-foreign-key",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="the foreign key is proved by reading all of {table} while nobody can write to it or to {referenced}",
        remedy="""\
{column_first}ALTER TABLE {table} ADD {definition};
-- In a later migration, while readers and writers go on:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="ALTER TABLE, Notes: NOT VALID; AlterTableGetLockLevel in tablecmds.c",
    ),
    Hazard(
        id="validate-in-same-transaction",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="VALIDATE CONSTRAINT {constraint} reads all of {table} while the transaction still holds the lock of an "
        "earlier statement, so that others wait as if it were not NOT VALID",
        remedy="""\
-- In a file, and so a transaction, of its own:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="Explicit Locking: a lock is held until the end of its transaction; ALTER TABLE, VALIDATE CONSTRAINT",
    ),
    Hazard(
        id="add-unique",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds the unique index of {table} while nobody can read or write it",
        remedy="""\
{column_first}-- In a file of its own, since it refuses a transaction:
CREATE UNIQUE INDEX CONCURRENTLY {constraint} ON {table} {index_columns};
-- In the next file:
ALTER TABLE {table} ADD CONSTRAINT {constraint} UNIQUE USING INDEX {constraint}{deferrable};""",
        source="ALTER TABLE, ADD table_constraint_using_index; CREATE INDEX, Building Indexes Concurrently",
    ),
    Hazard(
        id="add-primary-key",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds the primary key's index of {table} while nobody can read or write it",
        remedy="""\
{column_first}-- In a file of its own, since it refuses a transaction:
CREATE UNIQUE INDEX CONCURRENTLY {constraint} ON {table} {index_columns};
-- In the next file; make the columns NOT NULL first, or they are scanned under the lock:
ALTER TABLE {table} ADD CONSTRAINT {constraint} PRIMARY KEY USING INDEX {constraint}{deferrable};""",
        source="ALTER TABLE, ADD table_constraint_using_index",
    ),
    Hazard(
        id="pk-using-index-nullable",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="the primary key makes {column} NOT NULL by reading all of {table} while nobody can read or write it",
        remedy="""\
ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID;
-- In a later migration; with the check proved, neither SET NOT NULL nor the primary key reads anything:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {check};
-- ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;
-- ALTER TABLE {table} DROP CONSTRAINT {check};
-- {statement};""",
        source="ALTER TABLE, ADD table_constraint_using_index: PRIMARY KEY does an ALTER COLUMN SET NOT NULL",
    ),
    Hazard(
        id="add-exclusion",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds the exclusion constraint's index of {table} while nobody can read or write it",
        remedy="""\
-- PostgreSQL cannot build one concurrently.  Choose a quiet hour and do not queue for long:
SET lock_timeout = '2s';
ALTER TABLE {table} ADD {definition};""",
        source="CREATE INDEX, Building Indexes Concurrently: not for exclusion constraints",
    ),
    Hazard(
        id="create-index",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds an index of {table} while nobody can write to it",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
{statement};""",
        source="CREATE INDEX, Building Indexes Concurrently",
    ),
    Hazard(
        id="create-index-after-alter",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds an index of {table} while the transaction still holds the lock of an earlier ALTER TABLE, "
        "so that nobody can even read it",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
{statement};""",
        source="Explicit Locking: a lock is held until the end of its transaction",
    ),
    Hazard(
        id="index-on-partitioned",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds an index of every partition of {table}, while nobody can write to any of them",
        remedy="""\
-- An index of the parent alone, then one for each partition, built concurrently and attached:
CREATE INDEX {new} ON ONLY {table} {index_columns};
-- In a file of its own, for each partition:
-- CREATE INDEX CONCURRENTLY <its index> ON <the partition> {index_columns};
-- ALTER INDEX {new} ATTACH PARTITION <its index>;""",
        source="CREATE INDEX, Building Indexes Concurrently: not on a partitioned table",
    ),
    Hazard(
        id="reindex",
        classes=(SCANS_UNDER_LOCK, BLOCKS_READS),
        level=Level.WARNING,
        effect="{command} rebuilds {object} while nobody can write to its table, and queries of it wait to be planned",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
{statement};""",
        source="REINDEX, Notes; the planner opens every index of a table",
    ),
    Hazard(
        id="attach-partition",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="ATTACH PARTITION proves that the rows of {table} fit by reading them all while nobody can use it",
        remedy="""\
-- First a CHECK that says the same as the bounds, proved while readers and writers go on:
-- ALTER TABLE {table} ADD CONSTRAINT {check} CHECK (<the partition's bounds>) NOT VALID;
-- In a later migration:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {check};
-- {statement};
-- ALTER TABLE {table} DROP CONSTRAINT {check};""",
        source="Table Partitioning, Partition Maintenance; QueuePartitionConstraintValidation in tablecmds.c",
    ),
    Hazard(
        id="create-partition-of",
        classes=(BLOCKS_READS,),
        level=Level.WARNING,
        effect="makes a partition of {table} under a lock that nobody can read it under; "
        "a default partition is read whole",
        remedy="""\
-- Make the table by itself; attaching it lets readers and writers of the parent go on:
CREATE TABLE {new_qualified} (LIKE {table} INCLUDING ALL);
-- ALTER TABLE {table} ATTACH PARTITION {new_qualified} {definition};""",
        source="Table Partitioning, Partition Maintenance",
    ),
    Hazard(
        id="domain-add-constraint",
        classes=(SCANS_UNDER_LOCK, BLOCKS_WRITES),
        level=Level.WARNING,
        effect="the constraint of the domain {object} is proved by reading every table that uses it "
        "while nobody can write to them",
        remedy="""\
-- {statement};
-- In a later migration, at a quiet hour, since it reads them under the same lock:
-- ALTER DOMAIN {object} VALIDATE CONSTRAINT {constraint};""",
        source="ALTER DOMAIN, NOT VALID; validateDomainCheckConstraint in typecmds.c",
    ),
    Hazard(
        id="backfill-in-ddl-transaction",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="{command} reads {table} while the transaction still holds the lock of an earlier statement",
        remedy="""\
-- In a file, and so a transaction, of its own; many rows in batches by key range:
-- {statement};""",
        source="Explicit Locking: a lock is held until the end of its transaction",
    ),
)
