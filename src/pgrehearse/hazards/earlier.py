"""What earlier statements made: nobody uses a table that the same file creates, so nothing there can wait or be lost.

Newness ends with its file, unless the files are known to run together: an earlier file of the folder
may have been applied long ago, with users and rows since.  Proved checks outlive their file, because
that is how they are meant to be used.
"""

from dataclasses import dataclass, field
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, NullTestType, ObjectType, VariableSetKind

from pgrehearse.hazards.sql_names import DEFAULT_NAMESPACE, RelationName


@dataclass(slots=True)
class Earlier:
    """Grows statement by statement.  Relations are kept as ``namespace.relation``."""

    namespace: str = DEFAULT_NAMESPACE  # where unqualified names lead
    made: set[str] = field(default_factory=set)
    perhaps_made: set[str] = field(default_factory=set)  # CREATE … IF NOT EXISTS: it may have been there, with rows
    indexes_on_made: set[str] = field(default_factory=set)
    columns_made: set[tuple[str, str]] = field(default_factory=set)
    not_null_checks: dict[tuple[str, str], str] = field(default_factory=dict)  # (relation, constraint) -> column
    proved: set[tuple[str, str]] = field(default_factory=set)  # those constraints that are validated

    def qualified(self, name: RelationName) -> str:
        return name.qualified(self.namespace)

    def is_proved_not_null(self, relation: str, column: str) -> bool:
        """A validated CHECK (column IS NOT NULL) lets SET NOT NULL skip its scan since 12."""
        return any(self.not_null_checks[key] == column for key in self.proved if key[0] == relation)

    def begin_file(self, *, forget: bool) -> None:
        self.namespace = DEFAULT_NAMESPACE
        if forget:
            self.forget_made()

    def forget_made(self) -> None:
        """After a ROLLBACK, which may have taken it away again."""
        for each in (self.made, self.perhaps_made, self.indexes_on_made, self.columns_made):
            each.clear()

    def note(self, node: Any) -> None:
        """Take in one statement, after it was judged."""
        match node:
            case ast.CreateStmt():
                self._made(RelationName.of_range(node.relation), perhaps=bool(node.if_not_exists))
            case ast.CreateTableAsStmt():
                self._made(RelationName.of_range(node.into.rel), perhaps=bool(node.if_not_exists))
            case ast.SelectStmt() if node.intoClause is not None:
                self._made(RelationName.of_range(node.intoClause.rel), perhaps=False)
            case ast.IndexStmt():
                table = RelationName.of_range(node.relation)
                if node.idxname and self.qualified(table) in self.made:
                    self.indexes_on_made.add(self.qualified(RelationName(table.namespace, node.idxname)))
            case ast.DropStmt() if node.removeType == ObjectType.OBJECT_TABLE:
                for strings in node.objects:
                    name = self.qualified(RelationName.of_strings(strings))
                    self.made.discard(name)
                    self.perhaps_made.discard(name)
            case ast.RenameStmt() if node.renameType == ObjectType.OBJECT_TABLE:
                old = RelationName.of_range(node.relation)
                if self.qualified(old) in self.made:
                    self._made(RelationName(old.namespace, node.newname), perhaps=False)
                self.made.discard(self.qualified(old))
            case ast.VariableSetStmt() if node.name == "search_path" and node.kind == VariableSetKind.VAR_SET_VALUE:
                named = [argument.val.sval for argument in node.args if isinstance(argument.val, ast.String)]
                self.namespace = next((name for name in named if name not in ("", "$user")), DEFAULT_NAMESPACE)
            case ast.AlterTableStmt() if node.objtype == ObjectType.OBJECT_TABLE:
                relation = self.qualified(RelationName.of_range(node.relation))
                for command in node.cmds:
                    self._note_command(relation, command)

    def _made(self, name: RelationName, *, perhaps: bool) -> None:
        (self.perhaps_made if perhaps else self.made).add(self.qualified(name))

    def _note_command(self, relation: str, command: ast.AlterTableCmd) -> None:
        match command.subtype:
            case AlterTableType.AT_AddColumn if not command.missing_ok:
                self.columns_made.add((relation, command.def_.colname))
            case AlterTableType.AT_AddConstraint if command.def_.contype == ConstrType.CONSTR_CHECK:
                column = _column_of_not_null_check(command.def_)
                if column is not None:
                    key = (relation, command.def_.conname or "")
                    self.not_null_checks[key] = column
                    if not command.def_.skip_validation and command.def_.is_enforced:
                        self.proved.add(key)
            case AlterTableType.AT_ValidateConstraint if (relation, command.name) in self.not_null_checks:
                self.proved.add((relation, command.name))
            case AlterTableType.AT_DropConstraint:
                self.proved.discard((relation, command.name))


def _column_of_not_null_check(constraint: ast.Constraint) -> str | None:
    test = constraint.raw_expr
    if not isinstance(test, ast.NullTest) or test.nulltesttype != NullTestType.IS_NOT_NULL:
        return None
    if not isinstance(test.arg, ast.ColumnRef) or not isinstance(test.arg.fields[-1], ast.String):
        return None
    name: str = test.arg.fields[-1].sval
    return name
