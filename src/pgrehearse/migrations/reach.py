"""Which statements reach beyond their database: to the whole server, its disk, or another server."""

import re
from collections.abc import Sequence

from pgrehearse.migrations.body_tokens import (
    CONSTANTS,
    NONE,
    RUNS_STRINGS,
    Token,
    Unscannable,
    called_functions,
    rest_of_statement,
    starts_statement,
    texts_within,
)

_WHY_BY_KIND = {
    "AlterSystemStmt": "ALTER SYSTEM changes the whole server",
    "CreatedbStmt": "CREATE DATABASE makes another database on the server",
    "DropdbStmt": "DROP DATABASE removes another database of the server",
    "AlterDatabaseStmt": "ALTER DATABASE names a database of the server",
    "AlterDatabaseSetStmt": "ALTER DATABASE … SET names a database of the server",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE names a database of the server",
    "CreateRoleStmt": "roles belong to the whole server",
    "AlterRoleStmt": "roles belong to the whole server",
    "AlterRoleSetStmt": "roles belong to the whole server",
    "DropRoleStmt": "roles belong to the whole server",
    "GrantRoleStmt": "membership in roles belongs to the whole server",
    "ReassignOwnedStmt": "REASSIGN OWNED also changes shared objects of the server",
    "DropOwnedStmt": "DROP OWNED also revokes rights on shared objects of the server",
    "CreateTableSpaceStmt": "tablespaces belong to the whole server",
    "DropTableSpaceStmt": "tablespaces belong to the whole server",
    "AlterTableSpaceOptionsStmt": "tablespaces belong to the whole server",
    "LoadStmt": "LOAD runs a library of the server's machine",
    "CreateSubscriptionStmt": "a subscription connects to another server",
    "AlterSubscriptionStmt": "a subscription connects to another server",
    "DropSubscriptionStmt": "a subscription connects to another server",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA connects to another server",
    "CreateForeignServerStmt": "a foreign server leads to another server",
    "AlterForeignServerStmt": "a foreign server leads to another server",
    "CreateUserMappingStmt": "a user mapping leads to another server",
    "AlterUserMappingStmt": "a user mapping leads to another server",
}
# Not run on a private server either: from there, too, they would reach a server that is not ours.
_OUTWARD_KINDS = frozenset({
    "CreateSubscriptionStmt", "AlterSubscriptionStmt", "DropSubscriptionStmt", "ImportForeignSchemaStmt",
    "CreateForeignServerStmt", "AlterForeignServerStmt", "CreateUserMappingStmt", "AlterUserMappingStmt",
})  # fmt: skip
_OUTWARD_WORDS = re.compile(
    r"\bdblink|\b(?:create|alter|drop)\s+(?:subscription|server|user\s+mapping)\b|\bimport\s+foreign\s+schema\b|"
    r"\b(?:net|extensions|http)\s*\.\s*http\w*\s*\(|\bhttp_(?:get|post|put|patch|delete|head|request)\s*\(|"
    r"\b(?:query_(?:import_from|export_to)|table_import_from)_s3\b",
    re.IGNORECASE,
)

_WHY_BY_OBJECT = {
    "OBJECT_DATABASE": "it names a database of the server, and a clone has another name",
    "OBJECT_ROLE": "roles belong to the whole server",
    "OBJECT_TABLESPACE": "tablespaces belong to the whole server",
    "OBJECT_SUBSCRIPTION": "a subscription connects to another server",
    "OBJECT_PARAMETER_ACL": "rights on parameters belong to the whole server",
}
_OBJECT = re.compile(r'"(?:objtype|objectType|renameType)":"(' + "|".join(_WHY_BY_OBJECT) + r')"')
_NAMES_AN_OBJECT = frozenset({"CommentStmt", "SecLabelStmt", "GrantStmt", "AlterOwnerStmt", "RenameStmt"})

# Best effort: a function that hides such a call is not seen.
_FUNCTIONS = (
    r"dblink(?:_\w+)?|pg_read_(?:binary_)?file|pg_ls_\w+|pg_stat_file|pg_file_\w+|lo_import|lo_export|"
    r"pg_reload_conf|pg_rotate_logfile|pg_terminate_backend|pg_cancel_backend|pg_switch_wal|pg_promote|"
    r"pg_create_restore_point|pg_wal_replay_\w+|(?:pg_backup|pg_start|pg_stop)_\w+|"
    r"pg_create_(?:logical|physical)_replication_slot|pg_copy_\w+_replication_slot|pg_drop_replication_slot|"
    r"pg_replication_\w+|query_import_from_s3|table_import_from_s3|query_export_to_s3"
)
_CALL = re.compile(
    r'"FuncCall":\{"funcname":\[(?:\{"String":\{"sval":"[^"]*"\}\},)?\{"String":\{"sval":"(' + _FUNCTIONS + r')"\}\}\]'
)
_HTTP_CALL = re.compile(
    r'"FuncCall":\{"funcname":\[\{"String":\{"sval":"(?:net|extensions|http)"\}\},\{"String":\{"sval":"(http\w*)"\}\}\]'
)
# What a body is searched for where the scanner cannot read it.
_IN_BODY = re.compile(
    r"\b(alter\s+system|(?:create|alter|drop)\s+(?:role|user|group|database|tablespace|subscription|server)|"
    r"(?:drop|reassign)\s+owned|copy\b[^;]*\s(?:from|to)\s+(?:program\b\s*)?(?:'|\$\w*\$|e'|u&')|"
    r"import\s+foreign\s+schema|(?:" + _FUNCTIONS + r")\s*\()",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_NAMED_FUNCTION = re.compile(_FUNCTIONS)
_HTTP_NAMESPACES = frozenset({"net", "extensions", "http"})
_HTTP_FUNCTIONS = frozenset({"http_get", "http_post", "http_put", "http_patch", "http_delete", "http_head"})
_RUNS_STRINGS = re.compile(r'"String":\{"sval":"(?:' + "|".join(sorted(RUNS_STRINGS)) + r')"\}\}\],"args"')
_MAKES = frozenset({"CREATE", "ALTER", "DROP"})
_SHARED = {
    "ROLE": "ROLE", "USER": "USER", "GROUP_P": "GROUP", "DATABASE": "DATABASE", "TABLESPACE": "TABLESPACE",
    "SUBSCRIPTION": "SUBSCRIPTION", "SERVER": "SERVER", "PARAMETER": "PARAMETER",
}  # fmt: skip
_OF_ANOTHER_SERVER = frozenset({"SERVER", "PARAMETER"})  # what GRANT and COMMENT say of a foreign server stays inside


def find_reach_in_body(body: str) -> str | None:
    """The words of a function's body that reach beyond the database ("CREATE ROLE"), or None.

    Its strings are searched, too, where it may run them.
    """
    try:
        for tokens in texts_within(body):
            if (found := _find_reach(tokens)) is not None:
                return found
    except Unscannable:
        match = _IN_BODY.search(_COMMENT.sub(" ", body))
        return None if match is None else " ".join(match.group(1).split()).rstrip("(").upper()
    return None


def _find_reach(tokens: Sequence[Token]) -> str | None:
    for place, token in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else NONE
        if token.name == "COPY" and (found := _copies_file(tokens, place)) is not None:
            return found
        if token.name == "GRANT" and (found := _grants(tokens, place, "TO")) is not None:
            return found
        if not starts_statement(tokens, place):
            continue
        verb = token.text.upper()
        if token.name in _MAKES and following.name in {*_SHARED, "SYSTEM_P"}:
            return f"{verb} {following.text.upper()}"
        if token.name in {"DROP", "REASSIGN"} and following.name == "OWNED":
            return f"{verb} OWNED"
        if token.name == "REVOKE" and (found := _grants(tokens, place, "FROM")) is not None:
            return found
        if token.name in {"COMMENT", "SECURITY"} and (found := _says_of(tokens, place)) is not None:
            return f"{verb} ON {found}" if token.name == "COMMENT" else f"SECURITY LABEL ON {found}"
        if token.name == "IMPORT_P" and following.name == "FOREIGN":
            return "IMPORT FOREIGN SCHEMA"
        if token.name == "LOAD" and following.name in CONSTANTS:
            return "LOAD"
    for _, namespace, name in called_functions(tokens):
        if _NAMED_FUNCTION.fullmatch(name) or (namespace in _HTTP_NAMESPACES and name.startswith("http")):
            return name.upper()
        if name in _HTTP_FUNCTIONS:
            return name.upper()
    return None


def _copies_file(tokens: Sequence[Token], at: int) -> str | None:
    """COPY with a program or a file of the server's machine."""
    for place, token in rest_of_statement(tokens, at):
        if token.name not in {"TO", "FROM"}:
            continue
        first, second = [*tokens[place + 1 : place + 3], NONE, NONE][:2]
        if first.name == "PROGRAM" and second.name in CONSTANTS:
            return f"COPY … {token.text.upper()} PROGRAM"
        if first.name in CONSTANTS:
            return f"COPY … {token.text.upper()} a file"
    return None


def _grants(tokens: Sequence[Token], at: int, end: str) -> str | None:
    """GRANT and REVOKE of a role, or of what belongs to the whole server; of anything else they stay inside."""
    before = tokens[at - 1] if at else NONE
    if before.name in {"WITH", "REVOKE"}:  # GRANT OPTION
        return None
    verb = tokens[at].text.upper()
    for place, token in rest_of_statement(tokens, at):
        following = tokens[place + 1] if place + 1 < len(tokens) else NONE
        if token.name == "ON":
            belongs = _SHARED.get(following.name)
            return f"{verb} ON {belongs}" if belongs in {"DATABASE", "TABLESPACE", "PARAMETER"} else None
        if token.name == end:
            return f"{verb} of a role" if place > at + 1 else None
    return None


def _says_of(tokens: Sequence[Token], at: int) -> str | None:
    """COMMENT ON and SECURITY LABEL … ON what belongs to the whole server."""
    for place, token in rest_of_statement(tokens, at):
        if token.name == "ON":
            following = tokens[place + 1] if place + 1 < len(tokens) else NONE
            belongs = _SHARED.get(following.name)
            return None if belongs in _OF_ANOTHER_SERVER else belongs
    return None


def reaches_outward(kind: str, text: str) -> bool:
    """Whether a statement that reaches beyond its database does so to another server."""
    return kind in _OUTWARD_KINDS or _OUTWARD_WORDS.search(_COMMENT.sub(" ", text)) is not None


def outlives_rollback(kind: str, why: str | None) -> bool:
    """Whether what a statement does beyond its database (``why``: `reach_beyond`) stays when it is rolled back.

    The server's own catalogs (roles, databases' settings) roll back; functions, files, programs and other servers do
    not.  A DO block counts by its tokens, so it may be told without need.
    """
    return why is not None and kind not in _WHY_BY_KIND and kind not in _NAMES_AN_OBJECT


def reach_beyond(kind: str, tree: str, text: str) -> str | None:
    """Why this statement reaches beyond its database, or None.

    ``tree`` is the JSON of the node's body, read as text (see `transaction_need`).  DO bodies are
    searched by their tokens, so that the usual ``IF NOT EXISTS … CREATE ROLE`` is seen, and so are strings that a
    function is given to run.
    """
    why = _WHY_BY_KIND.get(kind)
    if why is not None:
        return why
    if kind in _NAMES_AN_OBJECT and (found := _OBJECT.search(tree)):
        return _WHY_BY_OBJECT[found.group(1)]
    if kind == "CopyStmt":
        if '"is_program":true' in tree:
            return "COPY … PROGRAM runs a command on the server's machine"
        if re.search(r'"filename":"', tree):
            return "COPY with a file name uses the server's disk"
    if kind == "DoStmt" and (words := find_reach_in_body(text)) is not None:
        return f"its body has {words}, which reaches beyond the database"
    called = _CALL.search(tree) or _HTTP_CALL.search(tree)
    if called and kind not in {"CreateFunctionStmt", "ViewStmt"}:
        return f"{called.group(1)}() reaches beyond the database"
    if _RUNS_STRINGS.search(tree) and (words := find_reach_in_body(text)) is not None:
        return f"a string that it runs has {words}, which reaches beyond the database"
    return None
