"""A copy that stays: what a person is told who asked for one."""

from dataclasses import dataclass
from typing import Any

from pgrehearse.clones.pair import ClonePair
from pgrehearse.clones.record import RecordedClone

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptClone:
    """A finished pair after its making has ended, and how the release ledger knows it."""

    pair: ClonePair
    recorded: RecordedClone

    def as_json(self) -> dict[str, Any]:
        """As ``answers/clone.schema.json``; addresses without passwords."""
        pair, recorded = self.pair, self.recorded
        assert recorded.address is not None, "a kept clone has an address"
        return {
            "format": FORMAT,
            "id": pair.id,
            "clone": recorded.address.printable_url,
            "pristine": recorded.address.replaced(dbname=recorded.names.pristine).printable_url,
            "private": pair.is_private,
            "source": pair.origin.as_json(),
            "role": pair.role,
            "role_problem": pair.role_problem,
            "lowered": list(pair.lowered),
            "switched_off": [each.as_json() for each in pair.switched_off],
            "not_measured": list(pair.not_measured),
            "timings": pair.timings.as_json(),
        }
