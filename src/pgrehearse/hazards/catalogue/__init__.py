"""The hazards that lint knows: what each does, and the corrected migration with the user's own names.

The ids are the project's spelling everywhere: in findings, on the doc page, in the folders of cases.
``{names}`` are filled in as SQL writes them, quoted where SQL needs it:

table, column, type, sequence, schema, constraint, referenced (a table): the user's own, ``shop.orders``
object, kind      any other object and its keyword: ``adults``, ``MATERIALIZED VIEW``
new               the new name or value that the statement gives, or one that is made up for the safe way
new_qualified     the same with its schema
aside, copy       made up: a table's name while it waits to be dropped; of a copy that keeps its rows
aside_qualified   the first of them with its schema
check             made up: the name of a CHECK that proves what the statement needs
definition        a constraint as it must be added instead, or an object as it must be made
index_columns     what stands behind ``ON table`` in CREATE INDEX
statement         the corrected statement, without its semicolon, or the user's own where it belongs elsewhere
command           the keywords of the user's statement: ``ALTER TABLE … SET LOGGED``
label             an enum's label, as a literal
oid               an expression that gives the object's oid: ``'users'::pg_catalog.regclass``
column_first      a line that adds the column without its constraint, or nothing
deferrable        `` DEFERRABLE INITIALLY DEFERRED``, or nothing
"""

from collections.abc import Mapping

from pgrehearse.errors import UnknownHazard
from pgrehearse.hazards.catalogue.broken_application import BROKEN_APPLICATION
from pgrehearse.hazards.catalogue.failures import FAILURES
from pgrehearse.hazards.catalogue.hazard import Hazard
from pgrehearse.hazards.catalogue.lost_data import LOST_DATA
from pgrehearse.hazards.catalogue.observed import OBSERVED
from pgrehearse.hazards.catalogue.policy import POLICY
from pgrehearse.hazards.catalogue.rewrites import REWRITES
from pgrehearse.hazards.catalogue.scans import SCANS
from pgrehearse.hazards.catalogue.waiting import WAITING

__all__ = ["CATALOGUE", "SECTIONS", "Hazard", "require_hazard"]

SECTIONS: Mapping[str, tuple[Hazard, ...]] = {
    "Data is lost": LOST_DATA,
    "The running application breaks": BROKEN_APPLICATION,
    "The table is rewritten": REWRITES,
    "The table is scanned, or an index built, under a lock": SCANS,
    "Others wait": WAITING,
    "It fails midway, or cannot run there": FAILURES,
    "Style and policy": POLICY,
    "Seen in a rehearsal alone": OBSERVED,
}
CATALOGUE: Mapping[str, Hazard] = {hazard.id: hazard for section in SECTIONS.values() for hazard in section}


def require_hazard(name: str) -> Hazard:
    """The hazard of that id.  Raises `UnknownHazard` (exit 2) with the nearest ids."""
    found = CATALOGUE.get(name)
    if found is not None:
        return found
    import difflib  # only a mistake pays for it

    # Its words count too: `fk` alone is near to nothing, and `add-fk` is near to `drop-fk`.
    words = set(name.lower().split("-"))
    near = difflib.get_close_matches(name.lower(), CATALOGUE, n=3)
    near += [each for each in CATALOGUE if words & set(each.split("-")) and each not in near]
    remedy = f"Did you mean {', '.join(near[:5])}?  " if near else ""
    raise UnknownHazard(f"there is no hazard {name}", remedy=remedy + UnknownHazard.default_remedy)
