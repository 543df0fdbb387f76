"""What belongs to a whole server and not to one of its databases: read before a plan and after it, and compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
XIDS = 1 << 32
IS_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"


class Whose(Enum):
    """Who changed it, as far as the row's own transaction id tells."""

    THE_PLAN = "changed by the plan"
    UNKNOWN = "changed meanwhile, by the plan or by another session of that server"
    ANOTHER = "changed meanwhile by another session of that server"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedChange:
    """One database, role, membership, setting or comment that is not what it was."""

    what: str  # "role app"
    effect: str  # "new", "gone", "changed"
    whose: Whose
    undo: str | None  # the statement that makes it again what it was; None: none does alone


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedObject:
    """One row of a shared catalog."""

    content: str
    xid: int | None  # of the transaction that wrote it; None: may not be read
    makes: str | None  # a statement that gives it this content
    removes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """The plan's own: ids that are known to be, and spans (from, up to but not including) that hold all others."""

    xids: frozenset[int]
    spans: tuple[tuple[int, int], ...]

    def whose(self, xid: int | None) -> Whose:
        """``xid`` as a row has it, 32 bits.  Subtransactions have ids of their own, above their transaction's."""
        if xid is None:
            return Whose.UNKNOWN
        if any(own % XIDS == xid for own in self.xids):
            return Whose.THE_PLAN
        within = any((xid - first) % XIDS < (end - first) % XIDS for first, end in self.spans)
        return Whose.UNKNOWN if within else Whose.ANOTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCatalogs:
    """Every shared object by its name."""

    objects: Mapping[str, SharedObject]
    next_xid: int


def read_shared_catalogs(admin: Connection) -> SharedCatalogs:
    """Databases, roles, memberships, settings, tablespaces, rights on parameters, comments; none of our own.

    A few small queries.  Passwords are compared as digests, and only a superuser sees that one changed.
    """
    names = ["databases", "memberships", "settings", "tablespaces", "comments", "labels"]
    names.append("roles_as_superuser" if fetch_value(admin, IS_SUPERUSER) else "roles")
    if admin.info.server_version >= 150000:
        names.append("parameters_15")
    with admin.transaction():
        admin.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = [row for name in names for row in admin.execute(QUERIES[name])]
        next_xid = fetch_value(admin, QUERIES["next_xid"])
    objects = {
        what: SharedObject(content=content, xid=xid, makes=makes, removes=removes)
        for what, content, xid, makes, removes in rows
    }
    return SharedCatalogs(objects=objects, next_xid=next_xid)


def compare_shared_catalogs(
    before: SharedCatalogs, after: SharedCatalogs, plan: Transactions
) -> tuple[SharedChange, ...]:
    """What differs, by name.  A row that is gone says nothing of who removed it."""
    return tuple(_changes(before, after, plan))


def _changes(before: SharedCatalogs, after: SharedCatalogs, plan: Transactions) -> Iterable[SharedChange]:
    for what in sorted({*before.objects, *after.objects}):
        old, new = before.objects.get(what), after.objects.get(what)
        if new is None:
            assert old is not None
            # A role that is gone took its password with it.
            undo = None if what.startswith("role ") else old.makes
            yield SharedChange(what=what, effect="gone", whose=Whose.UNKNOWN, undo=undo)
        elif old is None:
            yield SharedChange(what=what, effect="new", whose=plan.whose(new.xid), undo=new.removes)
        elif old.content != new.content:
            # One membership less its options is made by revoking it first.
            undo = f"{new.removes}; {old.makes}" if what.startswith("membership ") else old.makes
            yield SharedChange(what=what, effect="changed", whose=plan.whose(new.xid), undo=undo)
