"""Which tables a source publishes now: asked beside a page load, within a budget, and remembered for a while.

The answer is kept in Redis beside the page, but not evicted with it: a change in the config database is no reason to
call a source. Without Redis each process remembers for itself.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic

from service.cache.store import Cache, CacheUnavailableError
from service.concurrency import keep
from service.config.settings import Settings
from service.database.queries import query
from service.errors import SourceUnreachableError
from service.sources.connections import Source, SourceConnection, Sources


@dataclass(frozen=True, slots=True)
class Publication:
    """The names of the published tables; None where the source did not say, then `check` says why."""

    names: frozenset[str] | None
    check: str


@dataclass(frozen=True, slots=True)
class _Remembered:
    place: str
    names: frozenset[str]
    until: float
    number: int
    recorded: str


class Publications:
    """`on_late(source_id, names)` is called when an answer came after the page that asked for it had gone out."""

    def __init__(
        self, settings: Settings, sources: Sources, cache: Cache, on_late: Callable[[int, frozenset[str]], None]
    ) -> None:
        self._budget = settings.publication_budget_ms / 1000
        self._patience = (settings.source_connect_timeout_ms + settings.source_statement_timeout_ms) / 1000
        self._ttl = settings.publication_ttl_s
        self._sources = sources
        self._cache = cache
        self._on_late = on_late
        self._asking: dict[tuple[Source, frozenset[str]], asyncio.Task[frozenset[str]]] = {}
        self._remembered: dict[int, _Remembered] = {}

    async def of(self, source: Source, remembered: bytes | None, recorded: frozenset[str]) -> Publication:
        """What the source publishes, from memory (`remembered` is what Redis held) or by asking it.

        `recorded` are the tables that the config database has as published. Where others were when the answer was
        given, somebody has learned of a change since, and what is remembered would hide it.
        """
        held = _parse(remembered) if remembered else self._own(source.id)
        if held is not None and held.place != source.place:
            held = None
        if held is not None and held.recorded == _digest(recorded):
            return Publication(held.names, "remembered")
        if why := self._sources.resting(source):
            return Publication(None, f"not asked: {why}")
        task = self._asking.get((source, recorded))
        if task is None:
            asking = self._ask(source, recorded, held.number if held is not None else 0)
            task = self._asking[source, recorded] = asyncio.ensure_future(asking)
            keep(task)
        done, _ = await asyncio.wait({task}, timeout=self._budget)
        if not done:
            task.add_done_callback(lambda late: self._tell_late(source.id, late))
            return Publication(None, f"no answer within {self._budget * 1000:.0f} ms")
        try:
            return Publication(task.result(), "asked")
        except SourceUnreachableError as error:
            return Publication(None, error.message)

    async def remember(self, source: Source, names: frozenset[str], number: int, recorded: frozenset[str]) -> None:
        """Keeps an answer; `number` orders what syncs heard, as the config database recorded them (0: no sync)."""
        held = self._own(source.id)
        # A sync that was recorded later has put its answer here while this one was on its way.
        if held is None or held.place != source.place or held.number <= number:
            until = monotonic() + self._ttl
            self._remembered[source.id] = _Remembered(source.place, names, until, number, _digest(recorded))
        text = json.dumps({"place": source.place, "names": sorted(names), "recorded": _digest(recorded)}).encode()
        try:
            await self._cache.remember_publication(source.id, number, text, self._ttl * 1000)
        except CacheUnavailableError:
            return

    async def _ask(self, source: Source, recorded: frozenset[str], number: int) -> frozenset[str]:
        async def question(connection: SourceConnection) -> frozenset[str]:
            cursor = await connection.execute(query("remote_publication"), {"publication": source.publication_name})
            row = await cursor.fetchone()
            return frozenset(row["names"] if row else ())

        try:
            names, _ = await self._sources.ask(source, self._patience, question)
            await self.remember(source, names, number, recorded)
            return names
        finally:
            del self._asking[source, recorded]

    def _tell_late(self, source_id: int, late: asyncio.Task[frozenset[str]]) -> None:
        if not late.cancelled() and late.exception() is None:
            self._on_late(source_id, late.result())

    def _own(self, source_id: int) -> _Remembered | None:
        held = self._remembered.get(source_id)
        if held is not None and held.until <= monotonic():
            del self._remembered[source_id]
            return None
        return None if self._cache.is_trusted else held


def _digest(names: frozenset[str]) -> str:
    return blake2b(json.dumps(sorted(names)).encode(), digest_size=8).hexdigest()


def _parse(remembered: bytes) -> _Remembered | None:
    """What Redis held: a number, then JSON; None for what is neither (anybody can write there)."""
    try:
        start = remembered.index(b"{")
        answer = json.loads(remembered[start:])
        place, names, recorded = str(answer["place"]), frozenset(answer["names"]), str(answer["recorded"])
        return _Remembered(place, names, 0.0, int(remembered[:start]), recorded)
    except (ValueError, KeyError, TypeError):
        return None
