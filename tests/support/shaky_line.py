"""A line to a server that is slow, and breaks at a chosen moment; seeded, so that what it did can be done again."""

import heapq
import itertools
import random
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from tests.support.killing import is_commit

from pgrehearse.postgres.conninfo import Conninfo


class When(Enum):
    """Where the chunk of the client's is when the line breaks."""

    UNSENT = "before the server has it"
    SENT = "while the server works on it"
    ANSWERED = "with its answer on the way"


class Whom(Enum):
    """Whose line breaks."""

    ONE = "this session's"
    ALL = "every session's"
    DOWN = "every session's, and nobody gets through any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The line breaks at the n-th chunk of the clients', or at their n-th COMMIT."""

    number: int
    when: When
    whom: Whom
    commits: bool = False

    @classmethod
    def drawn(cls, chance: random.Random, number: int, *, commits: bool = False) -> "Cut":
        when, whom = chance.choice(list(When)), chance.choice(list(Whom))
        return cls(number=number, when=when, whom=whom, commits=commits)

    def __str__(self) -> str:
        what = "COMMIT" if self.commits else "chunk"
        return f"{what} {self.number}, {self.when.value}, {self.whom.value} line"


class ShakyLine:
    """Relays between clients and a server's socket, in a thread of its own.

    ``delayed`` says for a chunk, either way, by how many seconds it is late.
    """

    def __init__(
        self, database: Conninfo, *, cut: Cut | None = None, delayed: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._directory = tempfile.mkdtemp(prefix="pgr-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._directory}/.s.PGSQL.5432")
        self._listener.listen(64)
        self._server_path = f"{database.parameters['host']}/.s.PGSQL.5432"
        self.conninfo = database.replaced(host=self._directory)
        self._cut = cut
        self._delayed = delayed
        self._partner: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._last: dict[socket.socket, float] = {}  # towards whom: when what was read last is due
        self._due: list[tuple[float, int, socket.socket, bytes]] = []
        self._numbers = itertools.count()
        self._until_answered: socket.socket | None = None
        self._over = threading.Event()
        self.chunks = self.commits = 0  # of the clients' so far
        self.broken = False

    @contextmanager
    def opened(self) -> Iterator["ShakyLine"]:
        thread = threading.Thread(target=self._relay, name="shaky-line", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
            for one in (*self._partner, self._listener):
                one.close()
            shutil.rmtree(self._directory)

    def _relay(self) -> None:
        while not self._over.is_set():
            wait = max(0.0, min(0.05, self._due[0][0] - time.monotonic())) if self._due else 0.05
            ready, _, _ = select.select([self._listener, *self._partner], [], [], wait)
            for one in ready:
                if one is self._listener:
                    self._accept()
                elif one in self._partner:
                    self._read(one)
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, to, data = heapq.heappop(self._due)
                self._deliver(to, data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self.broken and self._cut is not None and self._cut.whom is Whom.DOWN:
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._server_path)
        except OSError:
            client.close()
            return
        self._clients.add(client)
        self._partner |= {client: server, server: client}

    def _read(self, one: socket.socket) -> None:
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        to = self._partner[one]
        if not data:  # what is on its way still arrives
            self._later(to, b"")
            self._forget(one)
            return
        if one is self._until_answered:
            self._break(to)
            return
        if one in self._clients and self._is_the_moment(data):
            assert self._cut is not None
            if self._cut.when is not When.UNSENT:
                to.sendall(data)
            if self._cut.when is When.ANSWERED:
                self._until_answered = to
            else:
                self._break(one)
            return
        self._later(to, data)

    def _is_the_moment(self, data: bytes) -> bool:
        self.chunks += 1
        commit = is_commit(data)
        self.commits += commit
        if self._cut is None or self.broken or self._until_answered is not None:
            return False
        return (commit and self.commits == self._cut.number) if self._cut.commits else self.chunks == self._cut.number

    def _later(self, to: socket.socket, data: bytes) -> None:
        due = max(time.monotonic() + self._delayed(), self._last.get(to, 0.0))  # a line keeps its order
        self._last[to] = due
        heapq.heappush(self._due, (due, next(self._numbers), to, data))

    def _deliver(self, to: socket.socket, data: bytes) -> None:
        if to not in self._partner:
            return
        if not data:
            self._forget(to)
            return
        try:
            to.sendall(data)
        except OSError:
            for end in (self._partner[to], to):
                self._forget(end)

    def _forget(self, one: socket.socket) -> None:
        """It has ended; the other end hears of it when all that was said before has arrived."""
        self._partner.pop(one, None)
        self._clients.discard(one)
        one.close()

    def _break(self, client: socket.socket) -> None:
        assert self._cut is not None
        self.broken, self._until_answered = True, None
        for one in [client] if self._cut.whom is Whom.ONE else list(self._clients):
            for end in (one, self._partner.get(one)):
                if end is not None:
                    self._forget(end)


def slow(seed: int, *, share: float = 1.0) -> Callable[[], float]:
    """50 to 300 ms for this share of the chunks."""
    chance = random.Random(seed)
    return lambda: chance.uniform(0.05, 0.3) if chance.random() < share else 0.0
