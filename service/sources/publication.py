"""Which tables a source publishes now: asked during a page load, within a budget, and remembered for a while.

Redis keeps the answer beside the page, but an eviction does not delete it: a change in the config database is no reason
to query a source. Without Redis each process remembers its own answers.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic

import msgspec

from service.cache.store import Cache
from service.cache.values import CacheUnavailableError, Remembered
from service.concurrency import keep
from service.errors import SourceUnreachableError
from service.sources.address import SourceAddress
from service.sources.connections import Connections
from service.sources.source_connection import UnreadableText

_SLOW = "no answer within "
# The checks that succeeded.
ANSWERED = frozenset({"asked", "remembered"})


def is_failure(check: str) -> bool:
    """Whether a check says that the source did not answer; one that only takes longer than the budget may still."""
    return check not in ANSWERED and not check.startswith(_SLOW)


@dataclass(frozen=True, slots=True)
class Publication:
    """The names of the published tables, or None if the source did not answer; `check` then says why."""

    names: frozenset[str] | None
    check: str


@dataclass(frozen=True, slots=True)
class _Answer:
    publication_key: str
    names: frozenset[str]
    until: float
    number: int
    recorded: str


class _Stored(msgspec.Struct):
    """An answer as it is stored in Redis."""

    place: str
    names: list[str]
    recorded: str


class Publications:
    """Asks each source within `budget_s`, and keeps its answer for `ttl_s`.

    An answer that takes longer than the budget, but at most `patience_s`, is still kept.
    """

    def __init__(
        self, connections: Connections, cache: Cache, *, budget_s: float, patience_s: float, ttl_s: int
    ) -> None:
        self._budget = budget_s
        self._patience = patience_s
        self._ttl = ttl_s
        self._connections = connections
        self._cache = cache
        self._asking: dict[tuple[SourceAddress, frozenset[str]], asyncio.Task[frozenset[str]]] = {}
        self._own_answers: dict[int, _Answer] = {}

    async def of(
        self,
        address: SourceAddress,
        remembered: Remembered | None,
        recorded: frozenset[str],
        on_late: Callable[[int, frozenset[str]], None],
    ) -> Publication:
        """What the source publishes: a remembered answer (`remembered` is what Redis held), or a new one.

        `recorded` are the tables recorded as published in the config database. If they have changed since the answer
        was given, a sync or another program knows of a newer change, and the remembered answer would hide it.
        `on_late(source_id, names)` is called if the answer comes after the budget.
        """
        held = _parse(remembered) if remembered else self._own(address.id)
        if held is not None and held.publication_key != address.publication_key:
            held = None
        if held is not None and held.recorded == _digest(recorded):
            return Publication(held.names, "remembered")
        if why := self._connections.failures.resting(address):
            return Publication(None, f"not asked: {why}")
        task = self._asking.get((address, recorded))
        if task is None:
            asking = self._ask(address, recorded, held.number if held is not None else 0)
            task = self._asking[address, recorded] = asyncio.ensure_future(asking)
            keep(task)
        done, _ = await asyncio.wait({task}, timeout=self._budget)
        if not done:
            task.add_done_callback(lambda late: _tell_late(address.id, late, on_late))
            return Publication(None, f"{_SLOW}{self._budget * 1000:.0f} ms")
        try:
            return Publication(task.result(), "asked")
        except SourceUnreachableError as error:
            return Publication(None, error.message)

    async def remember(
        self, address: SourceAddress, names: frozenset[str], number: int, recorded: frozenset[str]
    ) -> None:
        """Keeps an answer. `number` is that of its sync in the config database, and orders answers (0: no sync yet)."""
        held = self._own(address.id)
        # A held answer with a higher number is of a sync that was recorded later and stored it while this answer was on
        # its way: the held one must stay.
        if held is None or held.publication_key != address.publication_key or held.number <= number:
            until = monotonic() + self._ttl
            self._own_answers[address.id] = _Answer(address.publication_key, names, until, number, _digest(recorded))
        text = msgspec.json.encode(_Stored(address.publication_key, sorted(names), _digest(recorded)))
        try:
            await self._cache.remember_publication(address.id, number, text, self._ttl * 1000)
        except CacheUnavailableError:
            return

    async def _ask(self, address: SourceAddress, recorded: frozenset[str], number: int) -> frozenset[str]:
        try:
            row, _ = await self._connections.fetch(
                address, "remote_publication", budget_s=self._patience, publication=address.publication_name
            )
            assert row is not None
            # A name that is not UTF-8 cannot be registered.
            names = frozenset(name for name in row["names"] if not isinstance(name, UnreadableText))
            await self.remember(address, names, number, recorded)
            return names
        finally:
            del self._asking[address, recorded]

    def _own(self, source_id: int) -> _Answer | None:
        held = self._own_answers.get(source_id)
        if held is not None and held.until <= monotonic():
            del self._own_answers[source_id]
            return None
        return None if self._cache.is_trusted else held


def _tell_late(
    source_id: int, late: asyncio.Task[frozenset[str]], on_late: Callable[[int, frozenset[str]], None]
) -> None:
    if not late.cancelled() and late.exception() is None:
        on_late(source_id, late.result())


def _digest(names: frozenset[str]) -> str:
    return blake2b(msgspec.json.encode(sorted(names)), digest_size=8).hexdigest()


def _parse(remembered: Remembered) -> _Answer | None:
    """What Redis held; None if it is not an answer, since any program can write there."""
    try:
        answer = msgspec.json.decode(remembered.text, type=_Stored)
    except msgspec.DecodeError:
        return None
    return _Answer(answer.place, frozenset(answer.names), 0.0, remembered.number, answer.recorded)
