"""Hazards by which somebody gets other rows than before, without an error: owners, readers of a parent, subscribers."""

from pgrehearse.hazards.catalogue.hazard import BREAKS_RUNNING_APP, GUARANTEE_LOST, Hazard
from pgrehearse.hazards.finding import Level

FEWER_ROWS = (
    Hazard(
        id="publication-sends-less",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="the publication {object} sends {kind} no more: its subscribers keep rows that change or go here",
        remedy="""\
-- In the same transaction, where it was meant for its time only:
ALTER PUBLICATION {object} SET (publish = 'insert, update, delete, truncate');""",
        source="CREATE PUBLICATION, publish",
    ),
    Hazard(
        id="no-force-row-security",
        classes=(GUARANTEE_LOST,),
        level=Level.WARNING,
        effect="the policies of {table} no longer bind its owner: sessions that work as the owner see all rows",
        remedy="""\
-- At the end of the transaction, where it was meant for its time only:
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;""",
        source="Row Security Policies: the table owner; ALTER TABLE, FORCE ROW LEVEL SECURITY",
    ),
    Hazard(
        id="force-row-security",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="the policies of {table} bind its owner, too: an application that works as the owner reads and writes "
        "only what they let through, without an error",
        remedy="""\
-- First a policy that lets the application's role do what it does:
CREATE POLICY {new} ON {table} USING (true);  -- or what it may see
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;""",
        source="Row Security Policies: the table owner; ALTER TABLE, FORCE ROW LEVEL SECURITY",
    ),
    Hazard(
        id="no-inherit",
        classes=(BREAKS_RUNNING_APP,),
        level=Level.WARNING,
        effect="rows of {table} are no longer found through {referenced}, without an error; its columns and checks "
        "stay as they are, and a later change of {referenced} does not reach them",
        remedy="""\
-- Where they are to be found in one place, a view over both in the same transaction:
CREATE VIEW {new_qualified} AS SELECT * FROM {referenced} UNION ALL SELECT * FROM {table};""",
        source="ALTER TABLE, NO INHERIT; Inheritance",
    ),
)
