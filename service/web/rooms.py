"""The open pages of one source, and the events that wait for each of them.

Server-sent events: https://html.spec.whatwg.org/#server-sent-events.
"""

import asyncio
import contextlib
import contextvars
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from service.web.portrait import Portrait

# Pages that hear nothing for more than twice as long (static/common.js) say that they are not current.
HEARTBEAT_S = 5.0
BEAT = b"event: beat\ndata: {}\n\n"
# A page that is this many events behind is asked to read everything again.
MOST_WAITING = 32
_REMEMBERED_CHANGES = 64


class Watcher:
    """One stream. What waits to be sent is bounded: a client that is too far behind reads the page anew."""

    def __init__(self, with_parts: bool) -> None:
        self.with_parts = with_parts
        self._waiting: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._is_over = False

    @property
    def waiting(self) -> int:
        """How many events wait to be sent."""
        return len(self._waiting)

    def end(self, last: bytes) -> None:
        """Queues the last event of the stream."""
        self._waiting.append(last)
        self._is_over = True
        self._more.set()

    def send(self, plain: bytes, with_parts: bytes, instead: bytes) -> None:
        """Queues the requested form, or `instead` if the watcher is too far behind."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self._waiting.append(instead)
        else:
            self._waiting.append(with_parts if self.with_parts else plain)
        self._more.set()

    async def next(self) -> bytes | None:
        """The next event; `beat` if there is none for a heartbeat's time; None at the end."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                while not self._waiting:
                    if self._is_over:
                        return None
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return BEAT
        return self._waiting.popleft()


@dataclass(frozen=True, slots=True)
class _Change:
    """The parts that changed after that version."""

    before: str
    parts: dict[str, str]


class Room:
    """The open pages of one source: what they show now, and the last changes that led there."""

    def __init__(self, portrait: Portrait, freshness: str) -> None:
        self._portrait = portrait
        self._freshness = freshness
        # In the order in which they came: a set would have another order in every run.
        self._watchers: dict[Watcher, None] = {}
        self._changed = asyncio.Event()
        # A change between the drawing of the portrait and the opening of this room has reached nobody here.
        self._changed.set()
        self._log: deque[_Change] = deque(maxlen=_REMEMBERED_CHANGES)
        self._task: asyncio.Task[None] | None = None

    @property
    def watchers(self) -> frozenset[Watcher]:
        """The streams that are open."""
        return frozenset(self._watchers)

    @property
    def _facts(self) -> dict[str, Any]:
        return {"version": self._portrait.version, "as_of": self._portrait.facts["as_of"]}

    def join(self, watcher: Watcher, since: str | None, run: Callable[[], Coroutine[Any, Any, None]]) -> bytes:
        """Lets a watcher in and returns the first events of its stream: what changed since the version that it shows.

        `run` keeps the room up to date; it starts with the first watcher.
        """
        if self._task is None:
            # In a context of its own: it outlives the request that came first, and its trace.
            self._task = asyncio.create_task(run(), context=contextvars.Context())
        missed = {} if since is None else self._missed(since)
        self._watchers[watcher] = None
        first = retry() + event("hello", self._facts)
        if missed is None:
            return first + event("whole", self._facts)
        if since is None:
            return first
        missed |= {"part-freshness": self._freshness}
        parts = {"parts": missed} if watcher.with_parts else {}
        return first + event("changed", self._facts | {"changed": sorted(missed)} | parts)

    def leave(self, watcher: Watcher) -> bool:
        """Lets a watcher out; true if it was the last one, and the room is closed."""
        self._watchers.pop(watcher, None)
        if self._watchers or self._task is None:
            return False
        self._task.cancel()
        return True

    @property
    def is_to_be_read(self) -> bool:
        """Whether something has changed since the last wait for a change ended."""
        return self._changed.is_set()

    def notice_change(self) -> None:
        """Something on the page has changed: it is to be read again."""
        self._changed.set()

    async def wait_for_change(self, seconds: float) -> bool:
        """Returns after a change, or after that time; whether there was one. What changes from here on ends the next
        wait.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        has_changed = self._changed.is_set()
        self._changed.clear()
        return has_changed

    def show(self, portrait: Portrait, freshness: str, *, was_troubled: bool) -> None:
        """Shows a newer portrait: sends the parts that differ, or says that everything has to be read."""
        before, self._portrait = self._portrait, portrait
        changed = portrait.changes_since(before)
        if changed is None:
            self._log.clear()
            self._freshness = freshness
            self._send("whole", {})
            return
        if changed:
            self._log.append(_Change(before.version, changed))
        if freshness != self._freshness or was_troubled:
            changed = changed | {"part-freshness": freshness}
            self._freshness = freshness
        if changed:
            self._send("changed", {"changed": sorted(changed)}, changed)

    def trouble(self, message: str) -> None:
        """Says that the page cannot be read now."""
        self._send("trouble", {"message": message})

    def end(self, why: str) -> None:
        """Ends every stream."""
        last = event("gone", self._facts | {"message": why})
        for watcher in self._watchers:
            watcher.end(last)

    def close(self, why: str) -> None:
        """Ends every stream and stops reading."""
        self.end(why)
        if self._task is not None:
            self._task.cancel()

    def _missed(self, since: str) -> dict[str, str] | None:
        """The parts that changed since that version; None if it is too long ago."""
        if since == self._portrait.version:
            return {}
        changes = list(self._log)
        for number in range(len(changes) - 1, -1, -1):
            if changes[number].before == since:
                return {name: html for change in changes[number:] for name, html in change.parts.items()}
        return None

    def _send(self, kind: str, data: dict[str, Any], parts: dict[str, str] | None = None) -> None:
        data = self._facts | data
        plain = event(kind, data)
        with_parts = plain if parts is None else event(kind, data | {"parts": parts})
        instead = event("whole", self._facts)
        for watcher in self._watchers:
            watcher.send(plain, with_parts, instead)


def retry() -> bytes:
    """When a browser is to come back: not all at once, after a restart."""
    return b"retry: %d\n\n" % random.randrange(1000, 5000)


def event(kind: str, data: dict[str, Any]) -> bytes:
    """A server-sent event."""
    # Only an event that brings a page to a version has its id: a client that is cut off after any other event has
    # missed what leads to that version.
    number = f"id: {data['version']}\n" if kind == "changed" and "version" in data else ""
    return b"".join((f"event: {kind}\n{number}data: ".encode(), msgspec.json.encode(data), b"\n\n"))
