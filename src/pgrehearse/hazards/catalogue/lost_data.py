"""Hazards by which values are lost."""

from pgrehearse.hazards.catalogue.hazard import (
    BLOCKS_READS,
    BLOCKS_WRITES,
    BREAKS_RUNNING_APP,
    DATA_LOSS,
    GUARANTEE_LOST,
    HARD_TO_UNDO,
    REWRITES_TABLE,
    Hazard,
)
from pgrehearse.hazards.finding import Level

LOST_DATA = (
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
        source="DROP TABLE; RemoveRelations in tablecmds.c",
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
        source="ALTER TABLE, DROP COLUMN; ATExecDropColumn in tablecmds.c",
    ),
    Hazard(
        id="drop-column-takes-index-or-constraint",
        classes=(GUARANTEE_LOST, HARD_TO_UNDO),
        level=Level.WARNING,
        effect="dropping {column} of {table} also drops {object}, which other columns share: "
        "what it guaranteed or sped up for them is gone",
        remedy="""\
-- First build what the remaining columns need, in a file of its own, since it refuses a transaction:
CREATE INDEX CONCURRENTLY {new} ON {table} {index_columns};  -- UNIQUE, if they are to stay unique by themselves
-- In a later migration, once no running application names it:
-- ALTER TABLE {table} DROP COLUMN {column};""",
        source="ALTER TABLE, DROP COLUMN: indexes and table constraints involving the column go with it",
    ),
    Hazard(
        id="drop-table-many-fks",
        classes=(BLOCKS_READS, BLOCKS_WRITES),
        level=Level.WARNING,
        effect="dropping {table} locks every table that its foreign keys reference, all at once: {referenced}",
        remedy="""\
-- One foreign key in each transaction, so that one of them is locked at a time:
SET lock_timeout = '2s';
ALTER TABLE {table} DROP CONSTRAINT {constraint};
-- In a later migration, once no running application names it:
-- DROP TABLE {table};""",
        source="ALTER TABLE, DROP CONSTRAINT; ATExecDropConstraint and RemoveTriggerById lock the referenced table",
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
        source="Dependency Tracking; performDeletion in dependency.c",
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
        source="DROP TYPE, CASCADE; Dependency Tracking",
    ),
    Hazard(
        id="drop-attribute",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="drops the attribute {object}: it is gone from the values of every column of that type, and "
        "statements of the running application that name it fail",
        remedy="""\
-- Keep its values in columns of their own, until no running application reads it:
SELECT attrelid::pg_catalog.regclass, attname
  FROM pg_catalog.pg_attribute WHERE atttypid = {oid} AND NOT attisdropped;""",
        source="ALTER TYPE, DROP ATTRIBUTE",
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
        source="DROP SCHEMA",
    ),
    Hazard(
        id="drop-database",
        classes=(DATA_LOSS,),
        level=Level.ERROR,
        effect="drops the whole database {object}",
        remedy="""\
-- Not in a migration: it cannot run inside a transaction, and nothing takes it back.
-- Drop it by hand, after a backup that was proved by a restore.""",
        source="DROP DATABASE",
    ),
    Hazard(
        id="drop-owned",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="DROP OWNED BY {object} drops everything that the role owns in this database, tables with their rows "
        "too, and takes away its privileges",
        remedy="""\
-- Give what it owns to somebody first:
REASSIGN OWNED BY {object} TO CURRENT_USER;
-- In a later migration; now only its privileges are left to go:
-- DROP OWNED BY {object};""",
        source="DROP OWNED",
    ),
    Hazard(
        id="truncate",
        classes=(DATA_LOSS, BLOCKS_READS),
        level=Level.ERROR,
        effect="TRUNCATE removes all rows of {table} and blocks its readers and writers meanwhile",
        remedy="""\
-- Keep a copy; then delete in batches by key range, outside the migration:
CREATE TABLE {copy} AS SELECT * FROM {table};""",
        source="TRUNCATE, Notes",
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
        source="TRUNCATE, CASCADE; heap_truncate_find_FKs in heap.c",
    ),
    Hazard(
        id="delete-all",
        classes=(DATA_LOSS, HARD_TO_UNDO),
        level=Level.ERROR,
        effect="deletes every row of {table}",
        remedy="""\
-- Keep a copy; then delete in batches by key range, outside the migration:
CREATE TABLE {copy} AS SELECT * FROM {table};""",
        source="DELETE: without a condition, all rows",
    ),
    Hazard(
        id="delete-rows",
        classes=(DATA_LOSS, HARD_TO_UNDO),
        level=Level.ERROR,
        effect="{command} deletes rows of {table}: those that its condition finds are gone",
        remedy="""\
-- Keep a copy; then delete in batches by key range, outside the migration, and declare how many rows are meant
-- (-- pgrehearse: expect deletes …), so that the rehearsal holds it to that:
CREATE TABLE {copy} AS SELECT * FROM {table};""",
        source="DELETE",
    ),
    Hazard(
        id="update-all",
        classes=(DATA_LOSS, HARD_TO_UNDO),
        level=Level.ERROR,
        effect="overwrites {column} in every row of {table}; the old values are gone",
        remedy="""\
-- Keep the old values; then update in batches by key range, outside the migration:
CREATE TABLE {copy} AS SELECT * FROM {table};""",
        source="UPDATE: without a condition, all rows",
    ),
    Hazard(
        id="update-rows",
        classes=(DATA_LOSS, HARD_TO_UNDO),
        level=Level.ERROR,
        effect="{command} overwrites {column} in rows of {table}; the old values are gone",
        remedy="""\
-- Keep the old values; then update in batches by key range, outside the migration, and declare how many rows are
-- meant (-- pgrehearse: expect updates …), so that the rehearsal holds it to that:
CREATE TABLE {copy} AS SELECT * FROM {table};""",
        source="UPDATE",
    ),
    Hazard(
        id="dml-in-migration",
        classes=(HARD_TO_UNDO,),
        level=Level.INFO,
        effect="{command} changes rows of {table} in a file that also changes the schema",
        remedy="""\
-- Rows change in a file of their own, so that the locks of the schema's change are not held meanwhile:
-- {statement};""",
        source="Explicit Locking: locks are held until the transaction ends",
    ),
    Hazard(
        id="cascade-delete-elsewhere",
        classes=(DATA_LOSS, HARD_TO_UNDO),
        level=Level.ERROR,
        effect="deleting from {table} also takes rows of {referenced}, by {object}",
        remedy="""\
-- Keep a copy of those rows too, and delete from each table by name:
CREATE TABLE {copy} AS SELECT * FROM {referenced};""",
        source="Foreign Keys, ON DELETE CASCADE; Overview of Trigger Behavior; Rules",
    ),
    Hazard(
        id="lossy-type-change",
        classes=(DATA_LOSS, REWRITES_TABLE),
        level=Level.ERROR,
        effect="changes {table}.{column} to {type}: values that it cannot hold are cut, rounded, or refused",
        remedy="""\
-- A new column, filled and compared while the old one is in use:
ALTER TABLE {table} ADD COLUMN {new} {type};
-- Write both; fill the old rows in batches by key range; compare; then swap the names in a later migration:
-- UPDATE {table} SET {new} = {column}::{type} WHERE {new} IS NULL;""",
        source="ALTER TABLE, SET DATA TYPE; Value Storage: an explicit cast cuts without an error",
    ),
    Hazard(
        id="tz-dependent-type-change",
        classes=(DATA_LOSS, REWRITES_TABLE),
        level=Level.ERROR,
        effect="changes {table}.{column} to {type} by the session's TimeZone: where that is not the zone which the "
        "values were written in they are shifted, and where it is not UTC the table is rewritten",
        remedy="""\
-- Say which zone is meant; UTC alone, and without USING, spares the rewrite:
SET timezone = 'UTC';
ALTER TABLE {table} ALTER COLUMN {column} TYPE {type};
RESET timezone;""",
        source="Release 12: ALTER TABLE … SET DATA TYPE timestamptz; ATColumnChangeRequiresRewrite in tablecmds.c",
    ),
    Hazard(
        id="rename-as-drop-add",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="drops {column} of {table} and adds {new} of a like type: if a rename was meant, its values are lost",
        remedy="""\
-- Add the new column, write both, fill the old rows in batches, and drop the old one in a later migration:
ALTER TABLE {table} ADD COLUMN {new} {type};
-- UPDATE {table} SET {new} = {column} WHERE {new} IS NULL;  -- by key range""",
        source="ALTER TABLE, DROP COLUMN and RENAME COLUMN",
    ),
    Hazard(
        id="create-table-force",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="drops {table} and makes it again: all its rows are lost, its grants and what depends on it too",
        remedy="""\
-- Change the table instead of making it again (ALTER TABLE {table} …), or make the new one beside it:
CREATE TABLE {new_qualified} (LIKE {table} INCLUDING ALL);""",
        source="DROP TABLE; CREATE TABLE",
    ),
    Hazard(
        id="sequence-restart",
        classes=(DATA_LOSS, BREAKS_RUNNING_APP),
        level=Level.ERROR,
        effect="sets the sequence {sequence} to a number of its own: where numbers above it are in use, "
        "INSERTs of the running application fail on them, or repeat them",
        remedy="""\
-- Set it to the largest number in use:
-- SELECT pg_catalog.setval({oid}, (SELECT max(<its column>) FROM <its table>));""",
        source="ALTER SEQUENCE, RESTART; Sequence Manipulation Functions",
    ),
    Hazard(
        id="enum-value-removal",
        classes=(DATA_LOSS, REWRITES_TABLE),
        level=Level.ERROR,
        effect="moves {table}.{column} to another enum, {type}: the table is rewritten while nobody can read it, and "
        "rows with a label that it lacks make the migration fail, or lose it",
        remedy="""\
-- Leave the label in the type, refuse it in the table, and change the rows that hold it in batches:
ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} <> {label}) NOT VALID;
-- In a later migration, while readers and writers go on:
-- ALTER TABLE {table} VALIDATE CONSTRAINT {check};""",
        source="Enumerated Types: labels cannot be removed; ALTER TABLE, SET DATA TYPE",
    ),
)
