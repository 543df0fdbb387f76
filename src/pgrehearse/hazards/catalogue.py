"""The hazards that lint knows: what each does, and the corrected migration with the user's own names.

The ids are the project's spelling everywhere: in findings, on the doc page, in the folders of cases.
``{names}`` are filled in as SQL writes them, quoted where SQL needs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pgrehearse.hazards.finding import HazardClass, Level

DATA_LOSS = HazardClass.DATA_LOSS
BREAKS_RUNNING_APP = HazardClass.BREAKS_RUNNING_APP
BLOCKS_READS = HazardClass.BLOCKS_READS
REWRITES_TABLE = HazardClass.REWRITES_TABLE
SCANS_UNDER_LOCK = HazardClass.SCANS_UNDER_LOCK
FAILS = HazardClass.FAILS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """One record per hazard: the only place where its text is written."""

    id: str
    classes: tuple[HazardClass, ...]
    level: Level
    effect: str
    remedy: str


_HAZARDS = (
    # --- data is lost ---------------------------------------------------------------------------
    Hazard(
        id="drop-table",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="drops the table {table} with all its rows; statements of the running application that name it fail",
        remedy="""\
-- Once no running application names it, set it aside for a release:
ALTER TABLE {table} RENAME TO {aside};
-- In a later migration, after a backup:
-- DROP TABLE {aside_qualified};""",
    ),
    Hazard(
        id="drop-column",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="drops the column {column} of {table} with its values; statements of the running application "
        "that name it fail",
        remedy="""\
-- Keep a copy:
CREATE TABLE {copy} AS SELECT * FROM {table};
-- In a later migration, once no running application names it:
-- ALTER TABLE {table} DROP COLUMN {column};""",
    ),
    Hazard(
        id="drop-cascade",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="CASCADE drops whatever depends on {object} without naming it: views, foreign keys, columns",
        remedy="""\
-- See what depends on it, drop each by name, then leave CASCADE away:
SELECT pg_catalog.pg_describe_object(classid, objid, objsubid)
  FROM pg_catalog.pg_depend WHERE refobjid = {oid} AND deptype IN ('n', 'a');""",
    ),
    Hazard(
        id="drop-type-cascade-takes-columns",
        classes=(DATA_LOSS,),
        level=Level.ERROR,
        effect="DROP {kind} {object} CASCADE drops every column of that type with its values",
        remedy="""\
-- Find the columns, change each to text, then drop {object} without CASCADE:
SELECT attrelid::pg_catalog.regclass, attname
  FROM pg_catalog.pg_attribute WHERE atttypid = {oid} AND NOT attisdropped;""",
    ),
    Hazard(
        id="drop-schema",
        classes=(DATA_LOSS,),
        level=Level.ERROR,
        effect="drops the schema {object}; with CASCADE, everything in it",
        remedy="""\
-- Once no running application names it, set it aside for a release:
ALTER SCHEMA {object} RENAME TO {aside};
-- In a later migration, after a backup: drop what is in {aside} by name, then the schema itself.""",
    ),
    Hazard(
        id="truncate",
        classes=(DATA_LOSS, BLOCKS_READS),
        level=Level.ERROR,
        effect="TRUNCATE removes all rows of {table} and blocks its readers and writers meanwhile",
        remedy="""\
-- Keep a copy; then delete in batches by key range, outside the migration:
CREATE TABLE {copy} AS SELECT * FROM {table};""",
    ),
    Hazard(
        id="truncate-cascade",
        classes=(DATA_LOSS,),
        level=Level.ERROR,
        effect="TRUNCATE … CASCADE also empties every table that references {table}, without naming it",
        remedy="""\
-- See which tables those are, and name each one that is meant:
SELECT conrelid::pg_catalog.regclass, conname
  FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = {oid};""",
    ),
    # --- the running application breaks, or the migration fails -----------------------------------
    Hazard(
        id="rename-column",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="renames {table}.{column} to {new}: statements of the running application that name {column} fail",
        remedy="""\
-- Add the new column with the old one's type, write both, fill the old rows in batches, and drop the old
-- one when no running application names it:
-- ALTER TABLE {table} ADD COLUMN {new} <the type of {column}>;
-- UPDATE {table} SET {new} = {column} WHERE {new} IS NULL;  -- by key range""",
    ),
    Hazard(
        id="rename-table",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="renames {table} to {new}: statements of the running application that name {table} fail",
        remedy="""\
-- A view under the old name, in the same transaction, keeps them working (its grants are its own):
ALTER TABLE {table} RENAME TO {new};
CREATE VIEW {table} AS SELECT * FROM {new_qualified};
-- In a later migration, once no running application names it:
-- DROP VIEW {table};""",
    ),
    Hazard(
        id="add-not-null-no-default",
        classes=(FAILS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="adds {table}.{column} as NOT NULL without a default: fails where the table has rows, "
        "and INSERTs of the running application that do not send it fail",
        remedy="""\
ALTER TABLE {table} ADD COLUMN {column} {type};
-- Deploy an application that sends it, and fill the old rows in batches; then:
ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID;
-- In a later migration:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {check};
-- ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;
-- ALTER TABLE {table} DROP CONSTRAINT {check};""",
    ),
    Hazard(
        id="change-column-type",
        classes=(REWRITES_TABLE, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="changes the type of {table}.{column} to {type}: unless that is a widening which PostgreSQL gets "
        "for free, the table is rewritten while nobody can read it, and values may be cut, rounded or refused",
        remedy="""\
-- A new column, filled while the old one is in use:
ALTER TABLE {table} ADD COLUMN {new} {type};
-- Write both; fill the old rows in batches by key range; compare; then swap the names in a later migration:
-- UPDATE {table} SET {new} = {column}::{type} WHERE {new} IS NULL;""",
    ),
    Hazard(
        id="nested-transaction",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{command} in a drizzle folder: drizzle wraps all files in one transaction of its own, so what stands "
        "before it is kept and never recorded, and the next run fails on it",
        remedy="-- Remove BEGIN, COMMIT and ROLLBACK from the file.",
    ),
    # --- others wait while a table is scanned or an index built ---------------------------------------
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
    ),
    Hazard(
        id="create-index",
        classes=(SCANS_UNDER_LOCK,),
        level=Level.WARNING,
        effect="builds an index of {table} while nobody can write to it",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
{statement};""",
    ),
    Hazard(
        id="drop-index",
        classes=(BLOCKS_READS,),
        level=Level.WARNING,
        effect="DROP INDEX {object} waits for, and then blocks, every reader and writer of its table",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
{statement};""",
    ),
)

CATALOGUE: Mapping[str, Hazard] = {hazard.id: hazard for hazard in _HAZARDS}
