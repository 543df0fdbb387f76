"""Which statements reach beyond their database: to the whole server, its disk, or another server."""

import re

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
    r"\b(?:net|extensions|http)\s*\.\s*http\w*\s*\(|\bhttp_(?:get|post|put|delete|request)\s*\(|"
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
_IN_BODY = re.compile(
    r"\b(alter\s+system|(?:create|alter|drop)\s+(?:role|user(?!\s+mapping)|group|database|tablespace|subscription)|"
    r"copy\b[^;]*\s(?:from|to)\s+(?:program\b\s*)?(?:'|\$\w*\$|e')|import\s+foreign\s+schema|(?:"
    + _FUNCTIONS
    + r")\s*\()",
    re.IGNORECASE,
)


def find_reach_in_body(body: str) -> str | None:
    """The words of a function's body that reach beyond the database ("CREATE ROLE"), or None.  By the words alone."""
    found = _IN_BODY.search(body)
    return None if found is None else " ".join(found.group(1).split()).rstrip("(").upper()


def reaches_outward(kind: str, text: str) -> bool:
    """Whether a statement that reaches beyond its database does so to another server."""
    return kind in _OUTWARD_KINDS or _OUTWARD_WORDS.search(text) is not None


def outlives_rollback(kind: str, why: str | None) -> bool:
    """Whether what a statement does beyond its database (``why``: `reach_beyond`) stays when it is rolled back.

    The server's own catalogs (roles, databases' settings) roll back; functions, files, programs and other servers do
    not.  A DO block counts by its words, so it may be told without need.
    """
    return why is not None and kind not in _WHY_BY_KIND and kind not in _NAMES_AN_OBJECT


def reach_beyond(kind: str, tree: str, text: str) -> str | None:
    """Why this statement reaches beyond its database, or None.

    ``tree`` is the JSON of the node's body, read as text (see `transaction_need`).  DO bodies are
    searched by words, so that the usual ``IF NOT EXISTS … CREATE ROLE`` is seen.
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
    return None
