"""Open lists of sources: they are told that something has changed, and read the list again."""

import asyncio
from collections.abc import AsyncIterator

from service.telemetry.events import Event, Evicted, Observer, SourceDown, SourceUp
from service.web import rooms
from service.web.rooms import BEAT, event, retry
from service.web.seats import Seat, Seats

# However much changes, an open list reads again at most this often.
_SPACING_S = 1.0


class Lobby:
    """Streams of events without content. After an event, a client reads the list again and sees what changed."""

    def __init__(self, seats: Seats, observer: Observer) -> None:
        self._seats = seats
        self._waiting: dict[asyncio.Event, None] = {}
        self._is_closed = False
        observer.subscribe(self._hear)

    def _hear(self, about: Event) -> None:
        # A source that comes or goes is an eviction too. A canary is none of any source.
        is_change = isinstance(about, Evicted) and about.cause != "canary"
        if is_change or isinstance(about, SourceDown | SourceUp):
            self._wake()

    def _wake(self) -> None:
        for changed in self._waiting:
            changed.set()

    def open(self) -> AsyncIterator[bytes]:
        """A stream: `hello`, then `changed` whenever a source has changed, `beat` in between, and `gone` at the end.

        TooManyStreamsError.
        """
        return self._stream(self._seats.take())

    async def _stream(self, seat: Seat) -> AsyncIterator[bytes]:
        changed = asyncio.Event()
        self._waiting[changed] = None
        try:
            yield retry() + event("hello", {})
            while not self._is_closed:
                try:
                    async with asyncio.timeout(rooms.HEARTBEAT_S):
                        await changed.wait()
                except TimeoutError:
                    yield BEAT
                    continue
                if self._is_closed:
                    break
                # Cleared before the client hears of it: what changes while it reads is told again.
                changed.clear()
                yield event("changed", {})
                await asyncio.sleep(_SPACING_S)
            yield event("gone", {"message": "the service stops"})
        finally:
            del self._waiting[changed]
            seat.leave()

    def close(self) -> None:
        """Ends every stream."""
        self._is_closed = True
        self._wake()
