"""What a release ledger tells of a database, read as its documentation says and judged without the package."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Entry = tuple[str, str, dict[str, Any]]  # kind, subject, body


@dataclass(slots=True)
class Told:
    """One promotion, as the entries tell it."""

    id: str
    receipt: str | None
    plan: tuple[str, ...]
    applied_before: tuple[str, ...]
    outcome: str | None = None
    back: bool = False  # taken back, or its database is another one now
    going_back: bool = False  # a rollback of it has begun


@dataclass(slots=True)
class Story:
    """Where the entries leave production."""

    applied: list[str] = field(default_factory=list)
    promotions: dict[str, Told] = field(default_factory=dict)

    @property
    def unfinished(self) -> list[Told]:
        return [told for told in self.promotions.values() if told.outcome is None and not told.back]

    @property
    def going_back(self) -> list[Told]:
        return [told for told in self.promotions.values() if told.going_back]

    @property
    def standing(self) -> list[Told]:
        """Those that changed something and were not taken back."""
        return [
            told for told in self.promotions.values() if told.outcome not in ("refused", "abandoned") and not told.back
        ]

    def at_least(self) -> set[str]:
        return set(self.applied) - {version for told in self.going_back for version in told.plan}

    def at_most(self) -> set[str]:
        return set(self.applied) | {version for told in self.unfinished for version in told.plan}


def read_story(entries: Iterable[Entry]) -> Story:
    """Follow the promotions and rollbacks from the first entry on."""
    story = Story()
    for kind, subject, body in entries:
        told = story.promotions.get(subject)
        if kind == "promotion-begun":
            assert told is None, f"promotion {subject} begins twice"
            plan = tuple(each["version"] for each in body["plan"])
            story.promotions[subject] = Told(subject, body["receipt"], plan, tuple(story.applied))
        elif kind == "promotion-ended":
            assert told is not None, "a promotion ends that never began"
            assert told.outcome is None, f"promotion {subject} ends twice"
            told.outcome = body["outcome"]
            if told.outcome in ("promoted", "differs"):
                told.back = False
                story.applied += [version for version in told.plan if version not in story.applied]
            elif told.outcome == "superseded":  # the newest one's plan is what was left of it
                newest = list(story.promotions.values())[-1]
                story.applied += [version for version in told.plan if version not in (*newest.plan, *story.applied)]
                newest.applied_before = tuple(story.applied)
        elif kind == "rollback-begun" and told is not None:
            told.going_back = True
        elif kind == "rollback-ended" and told is not None:
            told.going_back = False
            if body["outcome"] == "taken-back":
                told.back = True
                story.applied = [version for version in story.applied if version not in told.plan]
            elif body["outcome"] == "swapped":
                story.applied = list(told.applied_before)
                for each in story.promotions.values():
                    each.back = each.back or each.outcome is None or each.id >= subject
                    each.going_back = False
    return story


def require_approved_and_recoverable(
    entries: Sequence[Entry], receipts: Mapping[str, Mapping[str, Any]], rehearser: str
) -> None:
    """Whatever began to apply had a valid approval when it last passed its gate, and a backup proved since the last
    change of production, which is still whole."""
    for number, (kind, subject, body) in enumerate(entries):
        if kind != "promotion-step" or (body["step"], body["state"]) != ("apply", "begun"):
            continue
        before = list(entries[:number])
        own = [(at, each[2]) for at, each in enumerate(before) if each[1] == subject and each[0] == "promotion-step"]
        passed = [at for at, step in own if (step["step"], step["state"]) == ("gate", "done")]
        assert passed, f"{subject} was applied without a gate"
        (begun,) = [each for each in before if each[:2] == ("promotion-begun", subject)]
        digest = begun[2]["receipt"]
        promoted = {each[1] for each in before if each[0] == "promotion-begun" and each[2]["receipt"] == digest}
        _require_approved(before[: passed[-1]], receipts[digest], promoted, rehearser)
        secured = [(at, step) for at, step in own if (step["step"], step["state"]) == ("recoverability", "done")]
        assert secured, f"{subject} was applied without a way back"
        committed = any(step.get("state") == "committed" for _, step in own)
        at, step = secured[-1]
        if not committed:
            for other in before[at:]:
                assert other[2].get("state") != "committed", "the backup is older than another promotion's commit"
                assert other[:2] == ("rollback-begun", other[1]) or not other[0].startswith("rollback-ended"), (
                    f"the backup of {subject} is older than a rollback"
                )
        (proof,) = [proof for proof in step["proofs"] if proof["way"] == "dump"]
        backup = proof["facts"]["backup"]
        assert any(each[:2] == ("backup-proved", backup) for each in before[:at]), "the backup was never proved"
        require_whole(Path(proof["facts"]["directory"]))


def _require_approved(
    entries: Iterable[Entry], document: Mapping[str, Any], promoted: Collection[str], rehearser: str
) -> None:
    """``promoted``: what the receipt was promoted as; taken back, it leaves no approval standing."""
    standing: dict[str, set[str]] = {}
    for kind, subject, body in entries:
        if subject == document["digest"] and kind in ("approval", "approval-withdrawn"):
            standing.pop(body["by"]["login"], None)
            if kind == "approval":
                standing[body["by"]["login"]] = {each["finding"] for each in body["accepted"]}
        if kind == "rollback-ended" and subject in promoted and body["outcome"] in ("taken-back", "swapped"):
            standing.clear()
    assert set(standing) - {rehearser}, "promoted without an approval"
    if document["verdict"] != "clean":
        accepted = set().union(*standing.values())
        for finding in document["findings"]:
            if finding["level"] == "error" and finding["evidence"] != "disproved":
                name = finding["hazard"] + (f":{finding['relation']}" if finding["relation"] else "")
                assert name in accepted, f"promoted, and nobody accepted {name}"


def require_whole(directory: Path) -> None:
    """The files are what the manifest says."""
    files = json.loads((directory / "manifest.json").read_text())["files"]
    assert files
    for name, facts in files.items():
        assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == facts["sha256"], name
