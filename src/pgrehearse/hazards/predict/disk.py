"""What a rewrite needs beside the table."""

from collections.abc import Iterator, Sequence

from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.finding import HazardClass
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.situation import Situation

GIGABYTE = 1024**3


def headroom(hits: Sequence[Hit], situation: Situation) -> Iterator[Hit]:
    """What a rewrite needs beside the table; told from a gigabyte on, where the size is known."""
    for hit in hits:
        if hit.relation is None or HazardClass.REWRITES_TABLE not in (hit.classes or CATALOGUE[hit.hazard].classes):
            continue
        relation = situation.model.relations.get(situation.resolve(hit.relation))
        if relation is not None and (relation.size_bytes or 0) >= GIGABYTE:
            size = f"{(relation.size_bytes or 0) / GIGABYTE:,.1f} GB"
            names = {"table": hit.relation.written, "size": size, "oid": hit.relation.oid_of("regclass")}
            yield Hit(hazard="disk-headroom", relation=hit.relation, names=names)
            return
