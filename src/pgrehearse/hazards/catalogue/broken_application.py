"""Hazards by which statements of the running application fail, or a promise that it counts on is gone."""

from pgrehearse.hazards.catalogue.fewer_rows import FEWER_ROWS
from pgrehearse.hazards.catalogue.hazard import (
    BLOCKS_WRITES,
    BREAKS_RUNNING_APP,
    FAILS,
    GUARANTEE_LOST,
    STYLE,
    Hazard,
)
from pgrehearse.hazards.catalogue.switched_off import SWITCHED_OFF
from pgrehearse.hazards.finding import Level

BROKEN_APPLICATION = (
    # --- names ------------------------------------------------------------------------------------------
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
        source="ALTER TABLE, RENAME",
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
        source="ALTER TABLE, RENAME; CREATE VIEW, Updatable Views",
    ),
    Hazard(
        id="rename-view",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="renames the {kind} {object} to {new}: statements of the running application that name it fail",
        remedy="""\
-- A view under the new name; the old one stays until no running application names it:
CREATE VIEW {new_qualified} AS SELECT * FROM {object};""",
        source="ALTER VIEW, RENAME",
    ),
    Hazard(
        id="rename-schema",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="renames the schema {object} to {new}: statements of the running application that name what is in it, "
        "or find it by search_path, fail",
        remedy="""\
-- Deploy an application that finds both schemas by its search_path and names neither; then, in a later migration:
-- ALTER SCHEMA {object} RENAME TO {new};""",
        source="ALTER SCHEMA, RENAME; Schemas, The Schema Search Path",
    ),
    Hazard(
        id="set-schema",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="moves the {kind} {object} to the schema {schema}: statements of the running application that find it "
        "where it was fail",
        remedy="""\
-- A view under the old name, in the same transaction, keeps them working (its grants are its own):
-- ALTER {kind} {object} SET SCHEMA {schema};
-- {statement};
-- In a later migration, once no running application finds it there:
-- DROP VIEW {object};""",
        source="ALTER TABLE, SET SCHEMA; Schemas, The Schema Search Path",
    ),
    Hazard(
        id="rename-enum-value",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="renames the label {label} of {type} to {new}: statements of the running application that say {label} "
        "fail",
        remedy="""\
-- Add the new label, read both, write the new one, and change the old rows in batches:
ALTER TYPE {type} ADD VALUE IF NOT EXISTS {new};""",
        source="ALTER TYPE, RENAME VALUE",
    ),
    Hazard(
        id="rename-other",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="renames the {kind} {object} to {new}: statements of the running application that name it fail",
        remedy="""\
-- Make the new one beside the old one, and drop the old one when no running application names it:
-- CREATE {kind} {new} …;""",
        source="ALTER FUNCTION, ALTER TYPE, ALTER SEQUENCE, ALTER ROLE: RENAME",
    ),
    # --- things that go ------------------------------------------------------------------------------------
    Hazard(
        id="drop-view",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="drops the {kind} {object}: statements of the running application that name it fail",
        remedy="""\
-- In a later migration, once no running application names it:
-- DROP {kind} {object};
-- Where it is only to change: CREATE OR REPLACE VIEW, or both in one transaction, with its grants.""",
        source="DROP VIEW, DROP MATERIALIZED VIEW",
    ),
    Hazard(
        id="drop-function",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="drops the {kind} {object}: statements of the running application that call it fail",
        remedy="""\
-- In a later migration, once no running application calls it:
-- DROP {kind} {object};""",
        source="DROP FUNCTION",
    ),
    Hazard(
        id="function-signature-change",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="replaces {object} by a function of other arguments: calls of the running application fail",
        remedy="""\
-- Make the new one beside the old one, which stays until nobody calls it:
-- {statement};""",
        source="CREATE FUNCTION, Overloading",
    ),
    Hazard(
        id="drop-sequence",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="drops the sequence {object}: statements of the running application that take numbers from it fail",
        remedy="""\
-- In a later migration, once nothing takes numbers from it:
-- DROP SEQUENCE {object};""",
        source="DROP SEQUENCE",
    ),
    Hazard(
        id="drop-type",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="drops the {kind} {object}: statements of the running application that cast to it fail",
        remedy="""\
-- In a later migration, once no running application names it:
-- DROP {kind} {object};""",
        source="DROP TYPE",
    ),
    Hazard(
        id="drop-extension",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="drops the extension {object} with its functions, types and operators: statements of the running "
        "application that use them fail",
        remedy="""\
-- In a later migration, once nothing uses it:
-- DROP EXTENSION {object};""",
        source="DROP EXTENSION",
    ),
    Hazard(
        id="drop-object",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="drops the {kind} {object}: statements of the running application that need it fail",
        remedy="""\
-- In a later migration, once nothing needs it:
-- {statement};""",
        source="the DROP statement's own page",
    ),
    Hazard(
        id="drop-default",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="drops the default of {table}.{column}: INSERTs of the running application that count on it fail, "
        "or write NULL",
        remedy="""\
-- In a later migration, once every running application sends {column}:
-- ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;""",
        source="ALTER TABLE, DROP DEFAULT",
    ),
    Hazard(
        id="drop-identity",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="{table}.{column} is no identity any more: INSERTs of the running application that count on its numbers "
        "fail",
        remedy="""\
-- In a later migration, once every running application sends {column}:
-- ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY;""",
        source="ALTER TABLE, DROP IDENTITY",
    ),
    Hazard(
        id="drop-expression",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="{table}.{column} is not generated any more: INSERTs and UPDATEs of the running application leave it "
        "as it is",
        remedy="""\
-- In a later migration, once every running application writes {column}:
-- ALTER TABLE {table} ALTER COLUMN {column} DROP EXPRESSION;""",
        source="ALTER TABLE, DROP EXPRESSION",
    ),
    Hazard(
        id="drop-constraint-used-by-upsert",
        classes=(BREAKS_RUNNING_APP, GUARANTEE_LOST),
        level=Level.ERROR,
        effect="{object} is what INSERT … ON CONFLICT on {table} counts on: such statements of the running application "
        "fail, and duplicates are let in",
        remedy="""\
-- First another one of the same columns, in a file of its own, since it refuses a transaction:
CREATE UNIQUE INDEX CONCURRENTLY {new} ON {table} {index_columns};""",
        source="INSERT, ON CONFLICT: unique index inference",
    ),
    Hazard(
        id="drop-fk",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="drops the foreign key {constraint} of {table}: nothing keeps its rows from referencing what is not "
        "there, and the referenced table is locked too",
        remedy="""\
-- Where it is only to change: add the new one NOT VALID and validate it, before this one goes:
-- ALTER TABLE {table} DROP CONSTRAINT {constraint};""",
        source="ALTER TABLE, DROP CONSTRAINT; Foreign Keys",
    ),
    Hazard(
        id="drop-primary-key",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="drops the primary key {constraint} of {table}: duplicates are let in, and logical replication cannot "
        "tell its rows apart, so that UPDATE and DELETE of a published table fail",
        remedy="""\
-- Its successor first, in a file of its own, since it refuses a transaction; then both in one transaction:
-- ALTER TABLE {table} DROP CONSTRAINT {constraint};
-- ALTER TABLE {table} ADD CONSTRAINT {constraint} PRIMARY KEY USING INDEX <its index>;""",
        source="ALTER TABLE, DROP CONSTRAINT; Logical Replication, Publication: replica identity",
    ),
    Hazard(
        id="drop-constraint",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="drops {constraint} of {table}: nothing keeps its rows to it any more",
        remedy="""\
-- Where it is only to change: add the new one NOT VALID and validate it, before this one goes:
-- {statement};""",
        source="ALTER TABLE, DROP CONSTRAINT",
    ),
    Hazard(
        id="drop-not-null",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="{table}.{column} may be NULL from now on: readers in the running application may not expect it",
        remedy="""\
-- Deploy readers that expect it first; then:
-- ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL;""",
        source="ALTER TABLE, DROP NOT NULL",
    ),
    Hazard(
        id="drop-trigger",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="drops the trigger {object} of {table}: what it kept true for every write is not kept any more",
        remedy="""\
-- Once the application does what it did:
-- DROP TRIGGER {object} ON {table};""",
        source="DROP TRIGGER",
    ),
    *SWITCHED_OFF,
    Hazard(
        id="drop-policy",
        classes=(GUARANTEE_LOST, BREAKS_RUNNING_APP),
        level=Level.WARNING,
        effect="drops the policy {object} of {table}: its rows are hidden from those that it let in, or shown to those "
        "that it kept out",
        remedy="""\
-- The new policy first, in the same transaction:
-- DROP POLICY {object} ON {table};""",
        source="Row Security Policies",
    ),
    Hazard(
        id="alter-policy",
        classes=(GUARANTEE_LOST, BREAKS_RUNNING_APP),
        level=Level.WARNING,
        effect="changes the policy {object} of {table}: other rows are seen and written than before",
        remedy="""\
-- Deploy an application that is content with either; then:
-- {statement};""",
        source="ALTER POLICY; Row Security Policies",
    ),
    Hazard(
        id="disable-row-security",
        classes=(GUARANTEE_LOST,),
        level=Level.ERROR,
        effect="{table} loses row-level security: every role that may read it sees all rows",
        remedy="""\
-- At the end of the transaction, where it was meant for its time only:
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;""",
        source="Row Security Policies",
    ),
    Hazard(
        id="publication-loses-table",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="a publication no longer holds {table}: its subscribers get no more changes of it",
        remedy="""\
-- In the same transaction:
ALTER PUBLICATION {object} ADD TABLE {table};""",
        source="ALTER PUBLICATION; DROP TABLE",
    ),
    *FEWER_ROWS,
    # --- what is asked of the application from now on --------------------------------------------------------
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
        source="ALTER TABLE, ADD COLUMN",
    ),
    Hazard(
        id="default-dropped-after-add",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="adds {table}.{column} as NOT NULL with a default, and drops the default again: INSERTs of the running "
        "application, which does not know the column, fail",
        remedy="""\
-- Leave the default; in a later migration, once every running application sends {column}:
-- ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;""",
        source="ALTER TABLE, DROP DEFAULT",
    ),
    Hazard(
        id="set-not-null-breaks-writers",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.INFO,
        effect="{table} refuses rows that break {object} from now on, also where it is NOT VALID: statements of the "
        "running application that write such rows fail",
        remedy="""\
-- Deploy writers that keep to it first; then:
-- {statement};""",
        source="ALTER TABLE, Notes: NOT VALID constraints are enforced against subsequent inserts and updates",
    ),
    Hazard(
        id="set-generated-always",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="{table}.{column} is GENERATED ALWAYS from now on: INSERTs of the running application that send it fail",
        remedy="""\
-- BY DEFAULT lets them; in a later migration, once no running application sends {column}:
-- {statement};""",
        source="Identity Columns, Generated Columns; INSERT, OVERRIDING SYSTEM VALUE",
    ),
    Hazard(
        id="change-default",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.INFO,
        effect="new rows of {table} get another {column} where the running application does not send it",
        remedy="""\
-- Deploy an application that sends {column}, or is content with either; then:
-- {statement};""",
        source="ALTER TABLE, SET DEFAULT",
    ),
    Hazard(
        id="type-change-breaks-sql",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="{table}.{column} becomes {type}: statements of the running application that compare it with a value of "
        "its old type, or send one, fail",
        remedy="""\
-- A new column beside the old one, which stays until no running application names it:
ALTER TABLE {table} ADD COLUMN {new} {type};
-- Write both; fill the old rows in batches by key range:
-- UPDATE {table} SET {new} = {column}::{type} WHERE {new} IS NULL;""",
        source="Operators, Type Resolution",
    ),
    Hazard(
        id="new-sequence-no-grant",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="{table}.{column} takes its numbers from the new {sequence}, which only its owner may use: INSERTs of "
        'another role fail with "permission denied for sequence"',
        remedy="""\
-- In the same file (an identity column needs no such grant):
GRANT USAGE ON SEQUENCE {sequence} TO <the application's role>;""",
        source="Privileges: new sequences are their owner's; Identity Columns",
    ),
    Hazard(
        id="revoke",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="{command} takes privileges on {object} away: statements of the running application that need them fail",
        remedy="""\
-- In a later migration, once no running application needs them:
-- {statement};""",
        source="REVOKE",
    ),
    Hazard(
        id="change-owner",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="{object} gets another owner: who used it as its owner, without a grant, may not any more",
        remedy="""\
-- Grant what the old owner still needs, in the same transaction:
-- {statement};
-- GRANT SELECT, INSERT, UPDATE, DELETE ON {object} TO <the application's role>;""",
        source="Privileges: an object's owner",
    ),
    Hazard(
        id="enable-row-security",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.ERROR,
        effect="switches row security on for {table} without a policy: everybody but its owner reads no rows, without "
        "an error, and may write none",
        remedy="""\
-- The policy first; then, in the same transaction:
CREATE POLICY {new} ON {table} USING (true);  -- or what each role may see
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;""",
        source="Row Security Policies: a default-deny policy",
    ),
    Hazard(
        id="trigger-added-on-hot-table",
        classes=(BLOCKS_WRITES, BREAKS_RUNNING_APP),
        level=Level.WARNING,
        effect="the trigger {object} runs with every write to {table} from now on: where it raises an error, or takes "
        "long, the running application's writes do",
        remedy="""\
-- Try it with the application's own statements (`pgrehearse run --application`), and do not queue for long:
SET lock_timeout = '2s';
-- {statement};""",
        source="Overview of Trigger Behavior; CREATE TRIGGER takes SHARE ROW EXCLUSIVE",
    ),
    Hazard(
        id="rule-instead",
        classes=(BREAKS_RUNNING_APP, GUARANTEE_LOST),
        level=Level.WARNING,
        effect="the rule {object} changes what {command} on {table} does, without the running application knowing",
        remedy="""\
-- A trigger is easier to foresee; try it with the application's own statements (`pgrehearse run --application`).""",
        source="The Rule System",
    ),
    Hazard(
        id="json-column",
        classes=(STYLE,),
        level=Level.INFO,
        effect="adds {table}.{column} as json, which has no equality: SELECT DISTINCT and GROUP BY over whole rows of "
        "{table} fail",
        remedy="""\
ALTER TABLE {table} ADD COLUMN {column} jsonb;""",
        source="JSON Types; SELECT, DISTINCT",
    ),
    Hazard(
        id="select-star-prepared-plan",
        classes=(STYLE,),
        level=Level.INFO,
        effect="the columns of {table} change: open sessions that prepared SELECT * of it fail once with "
        '"cached plan must not change result type"',
        remedy="""\
-- Name columns in prepared statements, or let the application open new sessions when it is deployed.""",
        source="plancache.c: RevalidateCachedQuery",
    ),
    Hazard(
        id="sti-column",
        classes=(STYLE,),
        level=Level.INFO,
        effect="adds {table}.{column}: Active Record takes a column of that name for the name of a class",
        remedy="""\
-- Let the running application ignore the column first, or call it something else:
-- ALTER TABLE {table} ADD COLUMN {new} {type};""",
        source="the manual of Active Record: single table inheritance",
    ),
)
