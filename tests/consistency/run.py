"""What everybody in a run shares: its clock, its seed, its connections, its history."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from time import monotonic, time
from typing import LiteralString

import psycopg

from tests.consistency.content import SOURCES
from tests.consistency.history import AT_START, History, Register, Write
from tests.consistency.rig import Rig

_FIRST_MARK = 1_000_000_000
Connection = psycopg.AsyncConnection[tuple[object, ...]]


class NothingChangedError(Exception):
    """A statement found none of the rows that it was to change."""


# One of two transactions that wait for each other, or that PostgreSQL cannot put in an order, has to come again. So
# does one whose snapshot is older than an ALTER TABLE that rewrote a table: to it, the table is empty. And so does one
# that refreshes the view concurrently and sees it as it was before another refresh: it would insert rows again.
Refused = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.NotNullViolation,
    psycopg.errors.UniqueViolation,
    NothingChangedError,
)


async def change(connection: Connection, statement: LiteralString, *values: object) -> None:
    """Raises NothingChangedError if the statement changes no row."""
    cursor = await connection.execute(statement, values)
    if not cursor.rowcount:
        raise NothingChangedError


class Run:
    """`seed` decides what is done and at what intervals; how it interleaves is up to the machine.

    `counts` says how often each kind of thing was done. `disturb` is done to Redis all the time.
    """

    def __init__(self, rig: Rig, seed: int, disturb: Callable[[random.Random], None] | None) -> None:
        self.rig = rig
        self.disturb = disturb
        self.history = History()
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._end = 0.0
        self._marks = _FIRST_MARK
        # What every page holds from the start: that it is a page of this database.
        self.history.begin(Write([(source, "own") for source in SOURCES], 1, 0.0, AT_START, 0.0))

    @property
    def seconds_left(self) -> float:
        """Until the run is over."""
        return max(self._end - monotonic(), 0)

    def last(self, seconds: float) -> None:
        """The run is over then."""
        self._end = monotonic() + seconds

    def sequence(self, name: str) -> random.Random:
        """A sequence of its own for everybody with a name."""
        return random.Random(f"{self._seed} {name}")

    async def pause(self, rng: random.Random, mean_s: float) -> bool:
        """Waits a random while; false when the run is over."""
        await asyncio.sleep(min(rng.expovariate(1 / mean_s), self.seconds_left))
        return self.seconds_left > 0

    async def connect(self, dsn: str | None = None) -> Connection:
        """To the config database if no other is named, as a superuser. A deadlock ends soon."""
        return await psycopg.AsyncConnection.connect(
            dsn or self.rig.config_dsn, autocommit=True, options="-c deadlock_timeout=100ms"
        )

    def begin(self, registers: list[Register], number: int) -> Write:
        """A write that begins now, with a mark of its own."""
        self._marks += 1
        write = Write(registers, number, time(), self._marks)
        self.history.begin(write)
        return write

    @contextlib.asynccontextmanager
    async def transaction(self, connection: Connection, write: Write) -> AsyncIterator[None]:
        """The transaction of a write: it notifies the mark as the last thing. Raises one of `Refused`."""
        try:
            async with connection.transaction():
                yield
                await self.mark(connection, write)
        except Refused:
            self.history.withdraw(write)
            raise
        write.committed = time()

    async def mark(self, connection: Connection, write: Write) -> None:
        """Whoever hears this has been told of the write."""
        await connection.execute("SELECT pg_notify('source_details_changed', %s)", (str(write.mark),))
