"""Open web pages: one portrait for each state of a source, drawn once for everybody, and sent as it changes.

An eviction signals that a source has changed: whatever evicts (a notification, a sync, a manual refresh) makes the open
pages of that source read it once, together. An event's id is the portrait's version, so that any process knows what a
page that reconnects has missed.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from time import monotonic
from types import MappingProxyType
from typing import Any

import msgspec
import psycopg

from service.concurrency import keep
from service.database.pool import ConfigDatabase
from service.errors import ConfigDatabaseUnavailableError, EntityNotFoundError
from service.pages.details import Pages
from service.pages.fragments import Fragments
from service.pages.page import Answer, Page
from service.sources.connections import Connections
from service.telemetry.events import Event, Evicted, Observer, TaskFailed
from service.web import chart
from service.web.chart import SHORTEST, Sample
from service.web.portrait import Details, Portrait, draw
from service.web.rooms import Room, Watcher
from service.web.seats import Seat, Seats

# However often a source changes, its open pages receive events at most this often.
_SPACING_S = 0.1
_TRY_AGAIN_S = 1.0
_LATELY_DAYS = 7
# How many connections to the database what is shown beside a page may take while the pages are read.
_MOST_AHEAD = 2
_MOST_SAMPLES = 120
_MOST_SOURCES = 200
_MOST_BYTES = 32 * 2**20

# A row of `portrait_extras`; None for an unknown source, and if it cannot be read.
_Extras = dict[str, Any] | None


class Live:
    """Portraits and streams. Errors are those of `Pages.read`, and TooManyStreamsError."""

    def __init__(
        self,
        database: ConfigDatabase,
        pages: Pages,
        connections: Connections,
        observer: Observer,
        seats: Seats,
    ) -> None:
        self._database = database
        self._pages = pages
        self._connections = connections
        self._seats = seats
        self._portraits: OrderedDict[int, Portrait] = OrderedDict()
        self._drawing: dict[tuple[int, str], asyncio.Task[Portrait]] = {}
        self._lag: OrderedDict[int, deque[Sample]] = OrderedDict()
        self._rooms: dict[int, Room] = {}
        self._ahead: set[asyncio.Task[_Extras]] = set()
        self._observe = observer
        observer.subscribe(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Evicted):
            affected = self._rooms if event.sources is None else self._rooms.keys() & event.sources
            for source_id in affected:
                self._rooms[source_id].notice_change()

    async def portrait(self, source_id: int, *, reload: bool = False) -> tuple[Portrait, Answer]:
        """The present portrait of a source, and the page that it was drawn from; `reload` reads past the caches."""
        answer = await (self._pages.reload(source_id) if reload else self._pages.read(source_id))
        return await self._portrait_of(source_id, answer.page, None), answer

    async def _portrait_of(self, source_id: int, page: Page, extras: asyncio.Task[_Extras] | None) -> Portrait:
        held = self._portraits.get(source_id)
        if held is not None and held.digest == page.digest:
            self._portraits.move_to_end(source_id)
            return held
        key = source_id, page.digest
        task = self._drawing.get(key)
        if task is None:
            task = self._drawing[key] = asyncio.ensure_future(self._draw(source_id, page, extras))
            keep(task)
            task.add_done_callback(lambda _: self._drawing.pop(key, None))
        return await asyncio.shield(task)

    async def _extras(self, source_id: int) -> _Extras:
        # During an update the tables of migrations 009 and 010, or the rights on them, may be missing.
        with contextlib.suppress(ConfigDatabaseUnavailableError, psycopg.ProgrammingError):
            return await self._database.fetch_one(
                "portrait_extras",
                id=source_id,
                days=_LATELY_DAYS,
                span_s=SHORTEST.lasts.total_seconds(),
                bucket_s=SHORTEST.bucket.total_seconds(),
            )
        return None

    def _begin_extras(self, source_id: int) -> asyncio.Task[_Extras] | None:
        """Reads them beside a page that is certainly computed; not for many sources at once, whose pages come first."""
        if self._pages.memory.get(source_id) or len(self._ahead) >= _MOST_AHEAD:
            return None
        task = asyncio.ensure_future(self._extras(source_id))
        self._ahead.add(task)
        task.add_done_callback(self._ahead.discard)
        keep(task)
        return task

    async def _draw(self, source_id: int, page: Page, reading: asyncio.Task[_Extras] | None) -> Portrait:
        kept = self._pages.fragments_of(source_id, page)
        extras = await reading if reading else None
        if extras is None:
            # Read after the page, so that it is never older; a later change evicts the page.
            extras = await self._extras(source_id)
        lag = tuple(self._lag.get(source_id, ()))
        before = self._portraits.get(source_id)
        portrait, sample = await asyncio.to_thread(_drawn, page, kept, extras, lag, before)
        if sample is not None:
            self._note_lag(source_id, sample)
        self._portraits[source_id] = portrait
        self._portraits.move_to_end(source_id)
        while len(self._portraits) > _MOST_SOURCES or (
            len(self._portraits) > 1 and sum(held.weight for held in self._portraits.values()) > _MOST_BYTES
        ):
            self._portraits.popitem(last=False)
        return portrait

    @property
    def streams(self) -> int:
        """How many streams are open, of sources and of the list."""
        return self._seats.taken

    @property
    def rooms(self) -> Mapping[int, Room]:
        """The open rooms, by source id."""
        return MappingProxyType(self._rooms)

    def _note_lag(self, source_id: int, sample: Sample) -> None:
        samples = self._lag.setdefault(source_id, deque(maxlen=_MOST_SAMPLES))
        self._lag.move_to_end(source_id)
        if not samples or samples[-1].when < sample.when:
            samples.append(sample)
        if len(self._lag) > _MOST_SOURCES:
            self._lag.popitem(last=False)

    def freshness(self, portrait: Portrait, answer: Answer) -> str:
        """The part of a page that says how old it is and where it was read."""
        since = self._connections.failures.since(portrait.source_id)
        return portrait.freshness(is_old=answer.found == "last known", failing_since=since)

    async def open(self, source_id: int, since: str | None, *, with_parts: bool) -> AsyncIterator[bytes]:
        """A stream of encoded events about what changes after `since` (a version; None: from now on):

        `hello` first; `changed` with the ids of the elements that changed, and their HTML `with_parts`; `whole` if
        everything has to be read again; `trouble` while the page cannot be read; `gone` last, if the source was deleted
        or the service stops.
        """
        portrait, answer = await self.portrait(source_id)
        seat = self._seats.take()
        room = Room(portrait, self.freshness(portrait, answer))
        return self._stream(seat, source_id, room, since, with_parts)

    async def _stream(
        self, seat: Seat, source_id: int, new_room: Room, since: str | None, with_parts: bool
    ) -> AsyncIterator[bytes]:
        # Nothing is awaited from here until the watcher is in the room: no change can fall between what it catches up
        # with and what it receives later.
        watcher = Watcher(with_parts)
        room = self._rooms.setdefault(source_id, new_room)
        first = room.join(watcher, since, lambda: self._keep_telling(source_id, room))
        try:
            yield first
            while (sent := await watcher.next()) is not None:
                yield sent
        finally:
            seat.leave()
            if room.leave(watcher) and self._rooms.get(source_id) is room:
                del self._rooms[source_id]

    async def _keep_telling(self, source_id: int, room: Room) -> None:
        while self._rooms.get(source_id) is room:
            try:
                await self._run(source_id, room)
            except Exception as error:
                self._observe(TaskFailed(task=f"live {source_id}", reason=f"{type(error).__name__}: {error}"))
                await asyncio.sleep(_TRY_AGAIN_S)
                room.notice_change()

    async def _run(self, source_id: int, room: Room) -> None:
        troubled = False
        # Not for ever: if the cancellation of a room that everybody has left is lost, it ends at the next change.
        while self._rooms.get(source_id) is room:
            has_changed = await room.wait_for_change(_TRY_AGAIN_S if troubled else self._until_expiry(source_id))
            extras = self._begin_extras(source_id) if has_changed and not troubled else None
            try:
                answer = await self._pages.read(source_id)
                # Read beside the page, they may lack a change that the page has. If the room has heard of that by now,
                # the page stays, and so would its portrait: they are read anew. If it hears of it later, the page goes;
                # but one that another process computed may have come to Redis after the eviction.
                is_safe = answer.found == "computed" and not room.is_to_be_read
                portrait = await self._portrait_of(source_id, answer.page, extras if is_safe else None)
            except ConfigDatabaseUnavailableError as error:
                if not troubled:
                    room.trouble(error.message)
                troubled = True
                continue
            except EntityNotFoundError as error:
                del self._rooms[source_id]
                room.end(error.message)
                return
            room.show(portrait, self.freshness(portrait, answer), was_troubled=troubled)
            troubled = answer.found == "last known"
            await asyncio.sleep(_SPACING_S)

    def _until_expiry(self, source_id: int) -> float:
        page = self._pages.memory.get(source_id)
        return max(page.expires - monotonic(), _SPACING_S) if page else _TRY_AGAIN_S

    def close(self) -> None:
        """Ends every stream. A server that stops waits for its connections."""
        self._seats.close()
        for room in self._rooms.values():
            room.close("the service stops")


def _drawn(
    page: Page,
    kept: Fragments | None,
    extras: dict[str, Any] | None,
    lag: tuple[Sample, ...],
    before: Portrait | None,
) -> tuple[Portrait, Sample | None]:
    """The portrait, and the lag that the page reports."""
    details = msgspec.json.decode(page.body if kept is None else kept.around(), type=Details)
    tables = [(None, table) for table in details.tables] if kept is None else kept.named_texts()
    wal, as_of = details.wal_monitor, datetime.fromisoformat(details.meta["as_of"])
    sample = None
    if wal and wal["replication_lag_bytes"] is not None:
        # A page that an earlier version of the service stored has no outlook, until it expires.
        outlook = details.meta.get("outlook") or {}
        sample = Sample(as_of, wal["replication_lag_bytes"], wal["wal_size_bytes"], outlook.get("lag_s"))
    if extras is not None and len(extras["lag"]) > 1:
        # The WAL monitor's history has more than what this process happened to read.
        lag = tuple(chart.samples(extras["lag"]))
    shown = (*lag, sample) if sample and (not lag or lag[-1].when < as_of) else lag
    return draw(details, tables, page.digest, extras, shown, before), sample
