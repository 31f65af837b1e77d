"""A config database: the version of each source's page, who is notified of a change, and when it does not answer.

A source's tables are numbered in the order in which they were made, and none is ever dropped: of two sets of them, the
number of the last one tells which is newer. A table's fragment shows what was written last to it, as a number that is
used once, and the number of the functions that make the texts.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, cast

import psycopg
from psycopg.pq import ConnStatus, PGnotify

from service.pages.listener import CHANNEL
from tests.simulation.clock import VirtualLoop


def names(last: int) -> list[str]:
    """The tables up to this one."""
    return [f"t{number}" for number in range(1, last + 1)]


def last_of(tables: Collection[str]) -> int:
    """The number of the last one."""
    return max((int(name[1:]) for name in tables), default=0)


@dataclass(frozen=True, slots=True)
class Row:
    """A table's row, with the number of the transaction that wrote it, the table's version, and what was written."""

    number: int
    version: int
    text: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What a source's page shows at one version: its tables, and the functions that may have made their texts."""

    rows: tuple[Row, ...]
    functions: frozenset[int]


class ConfigDatabase:
    """`versions` is what a read sees at a moment between its call and its answer."""

    def __init__(self, rng: random.Random, sources: list[int]) -> None:
        self.rng = rng
        self.latency = rng.choice([0.0005, 0.005, 0.05])
        self.notify_s = rng.choice([0.0005, 0.005, 0.05])
        self.versions = dict.fromkeys(sources, 1)
        self.unsettled: set[int] = set()
        # Of each source: the last table that is recorded, the number of the last sync, and how often others wrote.
        self.recorded = dict.fromkeys(sources, 1)
        # Of the server's starts: each gives the numbers of rows anew.
        self.start = 1
        # Which functions make what is computed live, and made the stored rows: the latter begin an epoch.
        self.functions = self.stored_by = 1
        self._number = self._text = len(sources)
        # What was shown at each version.
        self.shown_at = {source: [Shown((Row(source, 1, source),), frozenset({1}))] * 2 for source in sources}
        self.syncs: Counter[int] = Counter()
        self.editions: Counter[int] = Counter()
        self.locks = {source: asyncio.Lock() for source in sources}
        self.is_away = False
        self.listeners: list[Listening] = []
        self.identity = "the/config/database"

    def commit(self, source: int, *, told_to: int | str | None = None) -> None:
        """A change of a source's page, perhaps of a table; notified to it, or only to another or all (`told_to`)."""
        self._change(source, written=self.rng.randrange(self.recorded[source]) if self.rng.random() < 0.5 else None)
        self.notify(source if told_to is None else told_to, source)

    def _change(self, source: int, *, written: int | None = None) -> None:
        """The next version: a table that is written, the tables that are new."""
        rows = list(self.shown_at[source][-1].rows)
        if written is not None and written < len(rows):
            rows[written] = self._written(rows[written])
        rows += [self._written(None) for _ in range(self.recorded[source] - len(rows))]
        self.versions[source] += 1
        # Upgrades may overlap: what was computed live before the last one is kept until the epoch ends.
        functions = frozenset(range(self.stored_by, self.functions + 1))
        self.shown_at[source].append(Shown(tuple(rows), functions))

    def _written(self, row: Row | None) -> Row:
        self._text += 1
        if row is not None and self.rng.random() < 0.3:
            # A version in the table's history; its own row stays.
            return replace(row, version=row.version + 1, text=self._text)
        return Row(self._next(), 1 if row is None else row.version, self._text)

    def difference(self, source: int, version: int, tables: list[tuple[int, int, int]], last: int) -> str | None:
        """How these tables of a page differ from those up to the last one at that version: their numbers, what was
        written, and by which functions their texts are. None if they do not.
        """
        shown = self.shown_at[source][version]
        expected = [(table, row.text) for table, row in enumerate(shown.rows[:last], 1)]
        if [(table, text) for table, text, _ in tables] != expected:
            return f"{tables}, not {expected}"
        by = {functions for *_, functions in tables}
        return None if by <= shown.functions else f"texts by the functions {by}, not {set(shown.functions)}"

    def change_functions(self) -> None:
        """Migrations that make other texts of the same rows: of those that are computed from now on."""
        self.functions += 1
        for source, version in self.versions.items():
            shown = self.shown_at[source][version]
            self.shown_at[source][version] = replace(shown, functions=shown.functions | {self.functions})

    def store(self) -> None:
        """A refresh after that, for which every process is to evict every page."""
        self.stored_by = self.functions
        for source in self.versions:
            self._change(source)
        for source in self.versions:
            self.notify("*", source)

    def restart(self) -> None:
        """A copy takes its place: the rows are the same, and have numbers that the other server gave to others."""
        self.start += 1
        self._number = 0
        for shown in self.shown_at.values():
            rows = [replace(row, number=self._next()) for row in shown[-1].rows]
            shown[-1] = replace(shown[-1], rows=tuple(rows))
        for listening in list(self.listeners):
            listening.cut()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def notify(self, told_to: int | str, changed: int) -> None:
        """Notifies of a source, or of all (`*`): whoever hears it knows the present version of the one that changed."""
        for listening in self.listeners:
            listening.send(CHANNEL, str(told_to), changed, self.versions[changed])

    async def connect(self) -> "Listening":
        """A connection to listen on."""
        await self._pass()
        if self.is_away:
            raise psycopg.OperationalError("the config database is away")
        return Listening(self)

    async def _pass(self) -> None:
        await asyncio.sleep(self.rng.expovariate(1 / self.latency))


class Listening:
    """A connection that listens, as psycopg's. `on_told(payload, source, version)` is called for each notification."""

    def __init__(self, database: ConfigDatabase) -> None:
        self.info = self.pgconn = self
        self.backend_pid = 1
        self._database = database
        self._channels: set[str] = set()
        self._waiting: deque[tuple[str, str, int, int]] = deque()
        self._loop = cast("VirtualLoop", asyncio.get_running_loop())
        self._last = 0.0
        self._is_over = False
        self.is_deaf = False
        # The versions that were committed before it listened: eviction of everything covers these.
        self.before: dict[int, int] = {}
        self.on_told: Any = None

    async def execute(self, statement: Any) -> None:
        await self._database._pass()
        self._check()
        text = statement if isinstance(statement, str) else statement.as_string(None)
        if text.startswith("LISTEN"):
            channel = text.split('"')[1]
            self._channels.add(channel)
            if channel == CHANNEL:
                self._database.listeners.append(self)
                self.before = dict(self._database.versions)
        await self._database._pass()
        self._check()

    def send(self, channel: str, payload: str, source: int, version: int) -> None:
        """A notification on its way; in order."""
        if channel not in self._channels or self.is_deaf:
            return
        self._last = max(self._last, self._loop.time() + self._database.rng.expovariate(1 / self._database.notify_s))
        self._loop.call_at(self._last, self._arrive, (channel, payload, source, version))

    def _arrive(self, notification: tuple[str, str, int, int]) -> None:
        self._waiting.append(notification)
        self._become_readable()

    def cut(self) -> None:
        """The connection is gone; its process notices now."""
        self.finish()
        self._become_readable()

    def _become_readable(self) -> None:
        if read := self._loop.readers.get(self.fileno()):
            read()

    def finish(self) -> None:
        self._is_over = True
        if self in self._database.listeners:
            self._database.listeners.remove(self)

    def _check(self) -> None:
        if self._is_over:
            raise psycopg.OperationalError("the connection is lost")

    def fileno(self) -> int:
        return id(self)

    @property
    def status(self) -> ConnStatus:
        return ConnStatus.BAD if self._is_over else ConnStatus.OK

    def consume_input(self) -> None:
        self._check()

    def notifies(self) -> PGnotify | None:
        if not self._waiting:
            return None
        channel, payload, source, version = self._waiting.popleft()
        if channel == CHANNEL:
            self.on_told(source, version)
        return PGnotify(channel.encode(), 1, payload.encode())
