"""What the server's own parse analysis refuses: operators, overloads and casts that are not there, literals that are no
value of their type, names that are ambiguous.

`PREPARE` analyses and rewrites a query, and neither plans nor runs it.  It is asked only as long as the database is
what the statement will meet: until the first statement that does anything but read and write rows, of all the files.
Source: parse_analyze_varparams in analyze.c.
"""

from collections.abc import Iterator
from typing import Any

from pglast import ast
from pglast.enums import ObjectType, ViewCheckOption
from pglast.parser import scan
from pglast.stream import RawStream

from pgrehearse.hazards.bodies import Inside
from pgrehearse.hazards.data_questions import DataQuestions
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, functions_in, relation_of, walk

_QUERIES = {
    ast.SelectStmt: "this query", ast.InsertStmt: "this INSERT", ast.UpdateStmt: "this UPDATE",
    ast.DeleteStmt: "this DELETE", ast.MergeStmt: "this MERGE",
}  # fmt: skip
_WRITES = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")
_ROWS_ONLY = frozenset({"SelectStmt", *_WRITES, "CopyStmt", "CommentStmt", "TransactionStmt"})


def refused_by_analysis(node: Any, text: str, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Of a query, of a view's, and of a function to drop; at most one."""
    if situation.blind or not situation.means_as_read:
        return
    if isinstance(node, ast.DropStmt) and node.removeType is ObjectType.OBJECT_FUNCTION and not node.missing_ok:
        for each in node.objects:
            if not each.args_unspecified and data.lacks_function(shown := _signature(each)):
                names = {"kind": "FUNCTION", "object": shown}
                yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
                return
    query, what = _analysed(node, text)
    why = data.refuses_to_analyse(query) if query is not None else None
    if why is not None:
        yield Hit(hazard="statement-refused", relation=None, names={"command": what, "object": why}, even_new=True)


def keeps_meaning(kind: str, tree: Node, inside: Inside, situation: Situation, data: DataQuestions) -> bool:
    """Whether names, types and settings lead where they led before the statement: it reads or writes rows, and runs
    no code of the users' own.  An operator, a default or a CHECK is not thought to change the schema.
    """
    if kind not in _ROWS_ONLY or "intoClause" in tree or inside.statements or inside.blind:
        return False
    called = functions_in(tree)
    if called:
        own = {each.name for each in situation.model.functions}
        if any(each.name in own for each in called) or not data.only_reads_by(called):
            return False
    written = [body["relation"] for each, body in ((kind, tree), *walk(tree)) if each in _WRITES]
    if kind == "CopyStmt" and tree.get("is_from"):
        written.append(tree["relation"])
    return all(_fires_nothing(relation_of(each), situation) for each in written)


def _fires_nothing(target: RelationName, situation: Situation) -> bool:
    """No trigger or rule of the table, of its partitions, or of those whose rows hang on its own."""
    model = situation.model
    stack, seen = [situation.resolve(target)], set[RelationName]()
    while stack:
        if (name := stack.pop()) in seen:
            continue
        seen.add(name)
        relation = model.relations.get(name)
        if relation is None or relation.kind not in (RelationKind.TABLE, RelationKind.PARTITIONED):
            return False
        if relation.triggers or relation.rules:
            return False
        stack += [*relation.partitions, *(child.name for child, _ in model.referencing(name))]
    return True


def _analysed(node: Any, text: str) -> tuple[str | None, str]:
    """A query, as the file has it, that the server analyses as it would analyse the statement, and what to call it."""
    if isinstance(node, ast.ViewStmt):
        tokens = scan(text)
        if node.withCheckOption is not ViewCheckOption.NO_CHECK_OPTION or "RECURSIVE" in {each.name for each in tokens}:
            return None, ""
        begins = next(token.end + 1 for token in tokens if token.name == "AS")  # what stands before it has no other
        return text[begins:], "the view's query"
    if type(node) not in _QUERIES or (isinstance(node, ast.SelectStmt) and node.intoClause is not None):
        return None, ""
    return text, _QUERIES[type(node)]


def _signature(function: Any) -> str:
    name = ".".join(quoted(part.sval) for part in function.objname)
    return f"{name}({', '.join(RawStream()(each) for each in function.objargs or ())})"
