"""Before-images within the migration's transactions: made current before the first statement, settled before COMMIT.

Two observers, because between them stands the watch: what it refuses need not be settled.
"""

from collections.abc import Sequence

from pgrehearse.migrations.observer import NoObserver
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection
from pgrehearse.rollback.image import Image
from pgrehearse.rollback.image_refresh import refresh_images
from pgrehearse.rollback.image_settle import settle_images


class RefreshImages(NoObserver):
    """Locks the tables against writers and makes each image equal to its table."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = tuple(images)

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        if self._images and not segment.rolls_back:
            refresh_images(session, self._images)


class SettleImages(NoObserver):
    """Keeps what this transaction destroyed; ``last`` is version and index of the plan's last statement in one."""

    def __init__(self, images: Sequence[Image], *, last: tuple[str, int] | None) -> None:
        self._images = tuple(images)
        self._last = last
        self._segment: Segment | None = None

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        self._segment = segment

    def before_commit(self, session: Connection) -> None:
        segment = self._segment
        if not self._images or segment is None:
            return
        keys = {(part.migration.version, statement.index) for part in segment.parts for statement in part.statements}
        session.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what deferred triggers would do at COMMIT is destroyed too
        settle_images(session, self._images, last=self._last is None or self._last in keys)
        if session.info.server_version >= 150000:
            # The next transaction of this session begins with counters at nothing, so what it destroys is told apart.
            session.execute("SELECT pg_catalog.pg_stat_force_next_flush()")

    def transaction_ended(self, *, committed: bool) -> None:
        self._segment = None
