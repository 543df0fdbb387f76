"""ALTER PUBLICATION: tables, and kinds of changes, that subscribers get no more."""

from collections.abc import Iterator

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import options, relation_of
from pgrehearse.hazards.written import Written

_ACTIONS = ("insert", "update", "delete", "truncate")
_REMOVES = "AP_DropObjects"
_REPLACES = "AP_SetObjects"


def alter_publication(written: Written, situation: Situation) -> Iterator[Hit]:
    """DROP TABLE takes what it names; SET leaves only what it names, and what was there the text does not say."""
    tree = written.tree
    action = tree.get("action", "AP_AddObjects")
    publication = quoted(tree["pubname"])
    sent = options(tree.get("options")).get("publish")
    if isinstance(sent, str):
        left_out = [each for each in _ACTIONS if each not in [one.strip().lower() for one in sent.split(",")]]
        if left_out:
            names = {"object": publication, "kind": ", ".join(left_out)}
            yield Hit(
                hazard="publication-sends-less",
                relation=None,
                names=names,
                certain=False,
                unsure="whether it sent these before",
            )
    if action == _REPLACES and tree.get("pubobjects"):
        yield _lost(None, publication, "what the statement does not name", unsure="what else it holds")
    elif action == _REMOVES:
        for each in tree.get("pubobjects", ()):
            body = each["PublicationObjSpec"]
            table = relation_of(body["pubtable"]["relation"]) if "pubtable" in body else None
            shown = table.written if table is not None else f"the tables of schema {quoted(body.get('name', ''))}"
            yield _lost(table, publication, shown)


def _lost(table: RelationName | None, publication: str, shown: str, unsure: str | None = None) -> Hit:
    return Hit(
        hazard="publication-loses-table",
        relation=table,
        names={"table": shown, "object": publication},
        certain=unsure is None,
        unsure=unsure,
    )
