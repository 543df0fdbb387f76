"""Hazards of triggers, rules and constraints that stay where they are and do nothing any more."""

from collections.abc import Sequence

from pgrehearse.hazards.catalogue.hazard import BLOCKS_READS, BLOCKS_WRITES, GUARANTEE_LOST, Hazard
from pgrehearse.hazards.finding import Level

SWITCHED_OFF: Sequence[Hazard] = (
    Hazard(
        id="disable-trigger",
        classes=(GUARANTEE_LOST, BLOCKS_WRITES),
        level=Level.WARNING,
        effect="{command} on {table}: writes of everybody go past the triggers, and with ALL past its foreign keys",
        remedy="""\
-- For one session of one's own, which needs a superuser, instead of for everybody:
-- SET session_replication_role = replica;""",
        source="ALTER TABLE, DISABLE TRIGGER",
    ),
    Hazard(
        id="disable-rule",
        classes=(GUARANTEE_LOST, BLOCKS_READS),
        level=Level.WARNING,
        effect="{command} on {table}: statements of everybody go past the rule {object}, which did something else with "
        "them or kept them out",
        remedy="""\
-- A condition in the rule lets through what is to pass, and nothing else:
-- CREATE OR REPLACE RULE {object} AS ON … TO {table} WHERE <what it still keeps out> DO INSTEAD NOTHING;""",
        source="ALTER TABLE, DISABLE RULE; The Rule System",
    ),
    Hazard(
        id="constraint-not-enforced",
        classes=(GUARANTEE_LOST, BLOCKS_READS),
        level=Level.WARNING,
        effect="{constraint} of {table} is not checked any more: rows that it refused can come, and enforcing it again "
        "reads the whole table",
        remedy="""\
-- NOT VALID keeps new rows out, too, and is checked later without stopping anybody:
-- ALTER TABLE {table} ADD CONSTRAINT {new} FOREIGN KEY … NOT VALID;""",
        source="ALTER TABLE, ALTER CONSTRAINT … NOT ENFORCED; Release 18",
        since=18,
    ),
)
