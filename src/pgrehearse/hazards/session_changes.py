"""What a file does to its own session: settings, deferred constraints, prepared statements."""

from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.tree import Node, constant_of, relation_of


def set_variable(tree: Node, situation: Situation) -> None:
    """SET and RESET."""
    if tree["kind"] == "VAR_SET_VALUE":
        values = []
        for argument in tree.get("args", ()):
            value = constant_of(argument)
            values.append("" if value is None else str(value))
        set_to(tree["name"].lower(), values, situation, local=bool(tree.get("is_local")))
    elif tree["kind"] in ("VAR_SET_DEFAULT", "VAR_RESET"):
        set_to(tree["name"].lower(), None, situation, local=False)


def set_to(name: str, values: list[str] | None, situation: Situation, *, local: bool) -> None:
    """As SET, or as set_config(); None: the default."""
    match name:
        case "search_path":
            if values and len(values) == 1:
                values = [each.strip().strip('"') for each in values[0].split(",")]
            named = tuple(each for each in values or () if each not in ("", "$user"))
            situation.search_path = named or situation.default_search_path
        case "timezone":
            situation.timezone, situation.local_timezone = (values[0] if values else None), local
        case "session_replication_role":
            situation.as_replica = True
        case "lock_timeout":
            situation.lock_timeout = bool(values) and values[0] not in ("0", "0s", "0ms") if values else False
            situation.local_lock_timeout = local


def set_constraints(tree: Node, situation: Situation) -> None:
    """SET CONSTRAINTS: what was deferred is checked at once, and waits no more."""
    deferred = bool(tree.get("deferred", False))
    situation.constraints_immediate = not deferred
    names = [relation_of(each["RangeVar"]).name for each in tree.get("constraints", ())]
    if names:
        situation.deferred.update(dict.fromkeys(names, deferred))
    else:
        situation.all_deferred = deferred
        situation.deferred.clear()
    if situation.constraints_immediate:
        situation.written.clear()


def prepare(tree: Node, situation: Situation) -> None:
    """PREPARE, for an EXECUTE to come."""
    situation.prepared[tree["name"]] = tree["query"]
