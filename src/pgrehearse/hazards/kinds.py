"""Every kind of statement that PostgreSQL's grammar has: judged by a rule, known to be harmless, or not visible.

A test goes over the parser's own list, so that a kind which a later parser brings is told until somebody looks.
"""

from collections.abc import Mapping

_NEW = "nobody uses what it makes yet"
_SESSION = "it concerns this session alone"

# Nothing that stands in the database is changed for anybody; the reason, for whoever doubts it.
HARMLESS: Mapping[str, str] = {
    "AlterCollationStmt": "it notes a collation's version, and no index is touched",
    "AlterDatabaseRefreshCollStmt": "it notes the database's collation version, and no index is touched",
    "AlterDefaultPrivilegesStmt": "rights on what is made later; what is there keeps its own",
    "AlterExtensionContentsStmt": "which extension an object belongs to shows in dumps and drops alone",
    "AlterObjectDependsStmt": "a dependency shows when something is dropped, and is told there",
    "AlterStatsStmt": "a statistics target is used by the next ANALYZE",
    "AlterTableSpaceOptionsStmt": "costs and concurrency of reading, for the planner",
    "CheckPointStmt": "it writes what would be written soon",
    "ClosePortalStmt": _SESSION,
    "CompositeTypeStmt": _NEW,
    "ConstraintsSetStmt": "the transaction's own; what it brings forward is told by the statements that change rows",
    "CreateAmStmt": _NEW,
    "CreateConversionStmt": _NEW,
    "CreateExtensionStmt": "it makes the extension's own objects; what it may have made is not taken for missing",
    "CreateFdwStmt": _NEW,
    "CreateForeignServerStmt": _NEW,
    "CreateForeignTableStmt": _NEW,
    "CreateOpClassStmt": _NEW,
    "CreateOpFamilyStmt": _NEW,
    "CreatePLangStmt": _NEW,
    "CreateRangeStmt": _NEW,
    "CreateRoleStmt": "nobody is that role yet",
    "CreateSchemaStmt": _NEW,
    "CreateTableSpaceStmt": _NEW,
    "CreateTransformStmt": "only functions that are made with it use it",
    "CreateUserMappingStmt": "without it the role could not read the server's tables at all",
    "CreatedbStmt": "another database",
    "DeallocateStmt": _SESSION,
    "DefineStmt": _NEW,
    "DiscardStmt": _SESSION,
    "DropTableSpaceStmt": "PostgreSQL refuses while anything lies in it",
    "FetchStmt": "it reads on what was declared before",
    "ListenStmt": _SESSION,
    "NotifyStmt": "it tells those who listen",
    "TransactionStmt": "the reader of the file follows it",
    "UnlistenStmt": _SESSION,
    "VariableSetStmt": _SESSION,
    "VariableShowStmt": _SESSION,
}

# What they do depends on what neither the text nor the model knows.
NOT_VISIBLE: Mapping[str, str] = {
    "AlterDatabaseSetStmt": "ALTER DATABASE … SET: what new sessions do otherwise shows only when they run",
    "AlterDatabaseStmt": "ALTER DATABASE: whom it keeps out shows only when they connect",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER: what it does to later statements shows only when they run",
    "AlterExtensionStmt": "ALTER EXTENSION runs the extension's own script: what that does shows only when it runs",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER: what its foreign tables give then shows only when they are read",
    "AlterForeignServerStmt": "ALTER SERVER: what its foreign tables give then shows only when they are read",
    "AlterFunctionStmt": "ALTER FUNCTION: what its callers notice of it shows only when they run",
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY: which indexes and queries use it the text does not show",
    "AlterOwnerStmt": "ALTER … OWNER TO: who used it as its owner, and may not any more, the text does not show",
    "AlterOperatorStmt": "ALTER OPERATOR: which plans change by it shows only when they run",
    "AlterRoleSetStmt": "ALTER ROLE … SET: what the role's new sessions do otherwise shows only when they run",
    "AlterRoleStmt": "ALTER ROLE: who works as that role, and what it may do no more, shows only when it connects",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION: what is then received, or not any more, the text does not show",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION: stored and new vectors differ from then on",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY: stored and new vectors differ from then on",
    "AlterTableMoveAllStmt": "ALTER … ALL IN TABLESPACE copies each under ACCESS EXCLUSIVE: which there are "
    "the text does not show",
    "AlterTypeStmt": "ALTER TYPE … SET: which columns and queries have the type the text does not show",
    "AlterUserMappingStmt": "ALTER USER MAPPING: whether the other server lets the role in shows only when it connects",
    "CreateCastStmt": "CREATE CAST: which statements mean something else by it shows only when they run",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER: what it does to later statements shows only when they run",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION writes rows of another server into the tables: which ones the text "
    "does not show",
    "DropRoleStmt": "DROP ROLE: who works as that role shows only when it connects",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION: what is received no more the text does not show",
    "DropUserMappingStmt": "DROP USER MAPPING: whose queries of foreign tables fail then the text does not show",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA: which tables it makes only the other server knows",
    "LoadStmt": "LOAD: what the library does shows only when it runs",
}

# `bodies` looks inside of these, and tells what it cannot read.
LOOKED_INTO = frozenset({"CallStmt", "DoStmt", "ExecuteStmt"})


def why_not_visible(kind: str, *, judged: bool) -> str | None:
    """What a reader of the text cannot know of such a statement; None where a rule judges it, or it does no harm."""
    if judged or kind in HARMLESS or kind in LOOKED_INTO:
        return None
    return NOT_VISIBLE.get(kind, f"a statement that lint does not know ({kind.removesuffix('Stmt')})")
