"""What CREATE VIEW does to the model: the view's columns, and what it names of other relations."""

from pgrehearse.hazards.model import Column, Relation, RelationKind
from pgrehearse.hazards.situation import Situation, situation_name
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, functions_in, relation_of, strings, walk


def view(tree: Node, situation: Situation) -> None:
    """CREATE [OR REPLACE] VIEW."""
    name = situation_name(relation_of(tree["view"]), situation)
    relation = situation.model.relations.get(name)
    if relation is None or not tree.get("replace"):
        relation = Relation(name=name, kind=RelationKind.VIEW, knows=True, made_in=situation.file)
        situation.model.relations[name] = relation
    situation.bridges.add(name)
    relation.kind = RelationKind.VIEW
    relation.uses.clear()
    relation.calls.clear()
    note_uses(relation, tree["query"], situation)
    named = output_columns(tree)
    relation.columns = {each: Column(name=each) for each in named or ()}


def output_columns(view: Node) -> list[str] | None:
    """The names of a view's columns; None where only the server knows (``*``, an expression without a name)."""
    targets = view["query"].get("SelectStmt", {}).get("targetList", [])
    aliases = strings(view.get("aliases"))
    named = [*aliases, *(_output_name(each["ResTarget"]) for each in targets[len(aliases) :])]
    return [each for each in named if each is not None] if named and None not in named else None


def _output_name(target: Node) -> str | None:
    value = target.get("val", {})
    if "name" in target:
        return str(target["name"])
    while "TypeCast" in value and "ColumnRef" in value["TypeCast"]["arg"]:
        value = value["TypeCast"]["arg"]
    if "ColumnRef" in value:
        last = value["ColumnRef"]["fields"][-1]
        return last["String"].get("sval") if "String" in last else None
    return strings(value["FuncCall"]["funcname"])[-1] if "FuncCall" in value else None


def note_uses(relation: Relation, query: Node, situation: Situation) -> None:
    """What the query names: columns are told apart where one relation has them, or their alias says so."""
    hidden = {body["ctename"] for name, body in walk(query) if name == "CommonTableExpr"}
    aliases: dict[str, RelationName] = {}
    for kind, body in walk(query):
        if kind == "RangeVar" and (body.get("schemaname") or body["relname"] not in hidden):
            used = situation.resolve(relation_of(body))
            aliases[body.get("alias", {}).get("aliasname", body["relname"])] = used
    relation.uses.update((used, None) for used in aliases.values() if names_all(query))
    for kind, body in walk(query):
        if kind != "ColumnRef":
            continue
        fields = [each["String"].get("sval", "") if "String" in each else None for each in body["fields"]]
        *qualifier, column = fields
        sources = [aliases[qualifier[-1]]] if qualifier and qualifier[-1] in aliases else list(aliases.values())
        relation.uses.update((source, column) for source in sources)
    named = {used for used, _ in relation.uses}
    relation.uses.update((used, "") for used in aliases.values() if used not in named)
    relation.calls.update(situation.resolve_function(each) for each in functions_in(query))
    situation.model.note_links(relation)


def names_all(query: Node) -> bool:
    """Whether a ``*`` stands in it."""
    return any(kind == "A_Star" for kind, _ in walk(query))
