"""Those who look at one source, and what each of them has still to be told.

Server-sent events: https://html.spec.whatwg.org/#server-sent-events.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import msgspec

from service.web.portrait import Portrait

HEARTBEAT_S = 15.0
# A page that is this many events behind is told to read everything anew.
MOST_WAITING = 32
_REMEMBERED_CHANGES = 64
# A template's Markup is a subclass of str, which msgspec does not encode by itself.
_ENCODER = msgspec.json.Encoder(enc_hook=str.__str__)


class Watcher:
    """One stream. What waits to be sent is bounded: who is too far behind reads the page anew instead."""

    def __init__(self, with_parts: bool) -> None:
        self.with_parts = with_parts
        self._waiting: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._is_over = False

    def end(self, last: bytes) -> None:
        """Nothing comes after that."""
        self._waiting.append(last)
        self._is_over = True
        self._more.set()

    def send(self, plain: bytes, with_parts: bytes, instead: bytes) -> None:
        """Has it sent what it asked for; `instead` where too much waits already."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self._waiting.append(instead)
        else:
            self._waiting.append(with_parts if self.with_parts else plain)
        self._more.set()

    async def next(self) -> bytes | None:
        """What is to be sent next; a comment where there is nothing for long; None at the end."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                while not self._waiting:
                    if self._is_over:
                        return None
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return b": still here\n\n"
        return self._waiting.popleft()


@dataclass(frozen=True, slots=True)
class Change:
    """The parts that changed after that version."""

    before: str
    parts: dict[str, str]


class Room:
    """Those who look at one source."""

    def __init__(self, portrait: Portrait, freshness: str) -> None:
        self.portrait = portrait
        self.watchers: set[Watcher] = set()
        # Set: what changed between the portrait's drawing and this room's opening told nobody here.
        self.changed = asyncio.Event()
        self.changed.set()
        self.log: deque[Change] = deque(maxlen=_REMEMBERED_CHANGES)
        self.freshness = freshness
        self.task: asyncio.Task[None] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What every event says."""
        return {"version": self.portrait.version, "as_of": self.portrait.facts["as_of"]}

    def missed(self, since: str) -> dict[str, str] | None:
        """The parts that changed since that version; None where it is not known any more."""
        if since == self.portrait.version:
            return {}
        changes = list(self.log)
        for number in range(len(changes) - 1, -1, -1):
            if changes[number].before == since:
                return {name: html for change in changes[number:] for name, html in change.parts.items()}
        return None

    def send(self, kind: str, data: dict[str, Any], parts: dict[str, str] | None = None) -> None:
        """Tells all; `parts` only those who asked for them."""
        data = self.facts | data
        plain = event(kind, data)
        with_parts = plain if parts is None else event(kind, data | {"parts": parts})
        instead = event("whole", self.facts)
        for watcher in self.watchers:
            watcher.send(plain, with_parts, instead)

    def end(self, why: str) -> None:
        """Tells all that nothing comes any more."""
        last = event("gone", self.facts | {"message": why})
        for watcher in self.watchers:
            watcher.end(last)


def event(kind: str, data: dict[str, Any]) -> bytes:
    """A server-sent event."""
    # Only what brings the page to a version has its id: a client that is cut off after any other event has missed it.
    number = f"id: {data['version']}\n" if kind == "changed" else ""
    return b"".join((f"event: {kind}\n{number}data: ".encode(), _ENCODER.encode(data), b"\n\n"))
