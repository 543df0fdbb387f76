"""Hazards by which the migration fails midway, or cannot run where it is."""

from pgrehearse.hazards.catalogue.hazard import FAILS, HARD_TO_UNDO, Hazard
from pgrehearse.hazards.finding import Level

FAILURES = (
    Hazard(
        id="concurrently-in-transaction",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{command} cannot run inside a transaction, and it stands in one here",
        remedy="""\
-- In a file of its own that its tool does not wrap (--transaction auto runs it outside by itself):
{statement};""",
        source="CREATE INDEX, Building Indexes Concurrently; PreventInTransactionBlock in xact.c",
    ),
    Hazard(
        id="cic-failed-leaves-invalid",
        classes=(FAILS, HARD_TO_UNDO),
        level=Level.WARNING,
        effect="IF NOT EXISTS is content with the invalid index that a failed CREATE INDEX CONCURRENTLY leaves behind "
        "as {object}",
        remedy="""\
-- In a file of its own, since it refuses a transaction:
DROP INDEX CONCURRENTLY IF EXISTS {object};
{statement};""",
        source="CREATE INDEX, Building Indexes Concurrently: invalid indexes",
    ),
    Hazard(
        id="unique-on-duplicates",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{table} has duplicates of what is to be unique: the migration fails on them",
        remedy="""\
-- See them, and decide which stay:
SELECT {column}, count(*) FROM {table} GROUP BY {column} HAVING count(*) > 1;""",
        source="Unique Constraints",
    ),
    Hazard(
        id="not-null-on-nulls",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{table}.{column} holds NULL: the migration fails on it",
        remedy="""\
-- See how many, and fill them in batches before:
SELECT count(*) FROM {table} WHERE {column} IS NULL;""",
        source="ALTER TABLE, SET NOT NULL",
    ),
    Hazard(
        id="check-violated",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="rows of {table} violate {constraint}: the migration fails on them",
        remedy="""\
-- Refuse new ones first, mend the old rows, and prove it in a later migration:
ALTER TABLE {table} ADD {definition};
-- ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="Check Constraints; ALTER TABLE, NOT VALID",
    ),
    Hazard(
        id="fk-violated",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="rows of {table} reference nothing in {referenced}: the migration fails on them",
        remedy="""\
-- Refuse new ones first, mend the old rows, and prove it in a later migration:
ALTER TABLE {table} ADD {definition};
-- ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};""",
        source="Foreign Keys; ALTER TABLE, NOT VALID",
    ),
    Hazard(
        id="cast-fails",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{table}.{column} cannot become {type}: PostgreSQL refuses the cast, or values do not survive it",
        remedy="""\
-- A new column, filled where the value fits:
ALTER TABLE {table} ADD COLUMN {new} {type};
-- UPDATE {table} SET {new} = <{column} as {type}> WHERE <it fits>;  -- by key range""",
        source="ALTER TABLE, SET DATA TYPE: USING must be given if there is no implicit or assignment cast",
    ),
    Hazard(
        id="fk-on-partitioned-not-valid",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{table} is partitioned: before PostgreSQL 18 a foreign key on it cannot be NOT VALID",
        remedy="""\
-- On each partition, then on the parent:
-- ALTER TABLE <the partition> ADD {definition} NOT VALID;
-- ALTER TABLE <the partition> VALIDATE CONSTRAINT {constraint};""",
        source="Release 18: NOT VALID foreign keys on partitioned tables; ATAddForeignKeyConstraint in tablecmds.c",
        until=17,
    ),
    Hazard(
        id="view-blocks-type-change",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{object} uses {table}.{column}: PostgreSQL refuses to change its type",
        remedy="""\
-- Drop it and make it again around the change, in one transaction, with its grants; its text:
SELECT pg_catalog.pg_get_viewdef({oid});
-- DROP {kind} {object};
-- ALTER TABLE {table} ALTER COLUMN {column} TYPE {type};
-- CREATE {kind} {object} AS <its text>;""",
        source="RememberAllDependentForRebuilding in tablecmds.c",
    ),
    Hazard(
        id="replace-view-loses-column",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="CREATE OR REPLACE VIEW {object} may only add columns at the end: "
        "one that is renamed, retyped or missing makes it fail",
        remedy="""\
-- Make the new view beside it, and drop the old one when no running application names it:
-- CREATE VIEW {new_qualified} AS <the new text>;""",
        source="CREATE VIEW, OR REPLACE; checkViewColumns in view.c",
    ),
    Hazard(
        id="dependants-remain",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{object} is needed by {referenced}: without CASCADE PostgreSQL refuses to drop it",
        remedy="""\
-- Drop what depends on it first, by name; all of it:
SELECT pg_catalog.pg_describe_object(classid, objid, objsubid)
  FROM pg_catalog.pg_depend WHERE refobjid = {oid} AND deptype IN ('n', 'a');""",
        source="Dependency Tracking",
    ),
    Hazard(
        id="may-fail",
        classes=(FAILS,),
        level=Level.INFO,
        effect="fails where {object}: the text does not show whether it is so",
        remedy="""\
-- Ask the database before the plan runs; it only reads:
-- pgrehearse lint --against ENV""",
        source="ALTER TABLE, CREATE INDEX, Dependency Tracking",
    ),
    Hazard(
        id="missing-object",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="there is no {kind} {object} at this point",
        remedy="-- Check the name and the order of the files; IF EXISTS where it may be absent on purpose.",
        source="PostgreSQL Error Codes, class 42: undefined_table, undefined_column, undefined_object",
    ),
    Hazard(
        id="object-exists",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="there is a {kind} {object} already",
        remedy="-- Choose another name, or drop the old one first; IF NOT EXISTS passes over one, however different.",
        source="PostgreSQL Error Codes, class 42: duplicate_table, duplicate_column, duplicate_object",
    ),
    Hazard(
        id="statement-refused",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="PostgreSQL refuses {command} here: {object}",
        remedy="-- Change the statement; `pgrehearse run` shows the server's own message.",
        source="the manual's page of the statement",
    ),
    Hazard(
        id="enum-add-value-used-same-tx",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="uses the label {label} of {type} in the transaction that adds it: PostgreSQL refuses it until COMMIT",
        remedy="""\
-- In a file of its own, before the one that uses it:
ALTER TYPE {type} ADD VALUE IF NOT EXISTS {label};""",
        source="ALTER TYPE, Notes",
    ),
    Hazard(
        id="nested-transaction",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{command} in a file that its tool wraps in a transaction of its own: COMMIT ends the tool's "
        "transaction, what stands before it is kept and may never be recorded, and the rest runs without one",
        remedy="-- Remove BEGIN, COMMIT and ROLLBACK from the file.",
        source="BEGIN, Notes: a transaction inside of a transaction only warns; COMMIT",
    ),
    Hazard(
        id="uncommitted-transaction",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{command} without a COMMIT: what follows it is rolled back when the session ends, without an error",
        remedy="""\
-- End the file with:
COMMIT;""",
        source="BEGIN; COMMIT",
    ),
    Hazard(
        id="not-rerunnable",
        classes=(FAILS,),
        level=Level.INFO,
        effect="{command} runs outside a transaction beside other statements: after a failure the file cannot run "
        "again, since what it made is there already",
        remedy="""\
-- Guard it, or give it a file of its own:
-- {statement};""",
        source="IF EXISTS and IF NOT EXISTS of each statement",
    ),
    Hazard(
        id="fk-type-mismatch",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="the foreign key compares {table}.{column} with a column of {referenced} whose type has no = operator "
        "for it: PostgreSQL refuses it",
        remedy="""\
-- Give {column} the type of the column that it references:
-- ALTER TABLE {table} ADD COLUMN {new} {type};""",
        source="ATAddForeignKeyConstraint in tablecmds.c: key columns are of incompatible types",
    ),
    Hazard(
        id="fk-no-unique-target",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="nothing makes the referenced columns of {referenced} unique: PostgreSQL refuses the foreign key",
        remedy="""\
-- In a file of its own, since it refuses a transaction, and before the foreign key:
CREATE UNIQUE INDEX CONCURRENTLY {new} ON {referenced} {index_columns};""",
        source="Foreign Keys; transformFkeyCheckAttrs in tablecmds.c",
    ),
    Hazard(
        id="duplicate-assignments",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{command} gives {column} a value twice: PostgreSQL refuses it",
        remedy="-- Leave one of the two assignments to {column}.",
        source="rewriteHandler.c: multiple assignments to same column",
    ),
    Hazard(
        id="pending-trigger-events",
        classes=(FAILS,),
        level=Level.ERROR,
        effect="{command} on {table} behind a change of its rows in the same transaction: where a deferred constraint "
        "or trigger still waits for the COMMIT, PostgreSQL refuses it",
        remedy="""\
-- Between the two, or each in a file of its own:
SET CONSTRAINTS ALL IMMEDIATE;
-- {statement};""",
        source="CheckTableNotInUse in tablecmds.c: it has pending trigger events",
    ),
)
