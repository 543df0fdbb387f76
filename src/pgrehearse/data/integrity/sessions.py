"""The sessions in which promises are asked about: nothing may be believed that is to be proved."""

from contextlib import ExitStack
from types import TracebackType

import psycopg

from pgrehearse.data.session import SET, Sessions, prepare_session
from pgrehearse.postgres.connect import Connection, fetch_value

# No index is asked, for it may be what is wrong; no constraint is believed, for it is what is asked about.
UNBELIEVING: tuple[tuple[str, str], ...] = (
    ("enable_indexscan", "off"),
    ("enable_indexonlyscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_partition_pruning", "off"),
    ("constraint_exclusion", "off"),
)


class IntegritySessions:
    """Sessions into both databases, opened when first needed, and again when one broke.  A context manager.

    ``as_role`` opens one into the clone as the plan's role: what the plan brought runs as nobody more powerful, and
    finds its names where that role finds them.  None: no such session can be had.
    """

    def __init__(self, pristine: Sessions, clone: Sessions, as_role: Sessions | None) -> None:
        self._openers = {
            "pristine": pristine, "clone": clone, "calling pristine": pristine, "calling clone": as_role,
            "pristine catalog": pristine, "clone catalog": clone,
        }  # fmt: skip
        self._open: dict[str, Connection] = {}
        self._search_path: str | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "IntegritySessions":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def pristine_catalog(self) -> Connection:
        """For catalogs alone: their indexes are believed, without which reading them takes quadratic time."""
        return self._session("pristine catalog")

    @property
    def clone_catalog(self) -> Connection:
        return self._session("clone catalog")

    def pristine(self, *, calls_routines: bool = False) -> Connection:
        return self._session("calling pristine" if calls_routines else "pristine")

    def clone(self, *, calls_routines: bool = False) -> Connection:
        """The administrator's; where routines of users are called, the plan's role's.

        Raises psycopg's `InsufficientPrivilege` where that role cannot be had.
        """
        return self._session("calling clone" if calls_routines else "clone")

    def _session(self, which: str) -> Connection:
        found = self._open.get(which)
        if found is not None and not found.closed:
            return found
        if which == "calling pristine":
            self._session("calling clone")  # its search path is wanted
        opener = self._openers[which]
        if opener is None:
            raise psycopg.errors.InsufficientPrivilege("no session as the plan's role can be had")
        found = self._open[which] = opener()
        self._stack.callback(found.close)
        if which == "calling clone":
            self._search_path = fetch_value(found, "SHOW search_path")
        prepare_session(found)
        if which.endswith("catalog"):
            return found
        settings = [*UNBELIEVING]
        if which.startswith("calling") and self._search_path is not None:
            settings.append(("search_path", self._search_path))
        found.execute(SET, ([name for name, _ in settings], [value for _, value in settings]))
        return found
