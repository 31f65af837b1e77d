"""A web page that is open: it is drawn once, and then shows what its stream of events says."""

import asyncio
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from service.errors import ConfigDatabaseUnavailableError
from service.web.live import Live

_VERSION = re.compile(r"version (\d+) ")


class OpenPage:
    """The page of a source, at any of these processes; `shown` is the version that it shows now."""

    def __init__(self, source: int, processes: Sequence[Live], rng: random.Random) -> None:
        self.source = source
        self.shown = 0
        self._processes = processes
        self._rng = rng
        self._lasting_s = rng.choice([0.2, 2, 50])

    async def run(self) -> None:
        """Lives until it is cancelled. Its connection is cut off now and then; another process may answer the next."""
        since: str | None = None
        while True:
            live = self._rng.choice(self._processes)
            # On its way to the server. Without it a page could ask again and again while the clock stands still.
            await asyncio.sleep(self._rng.expovariate(1 / 0.01))
            try:
                if since is None:
                    portrait, _ = await live.portrait(self.source)
                    self._show(portrait.parts)
                    since = portrait.version
                since = await self._follow(live, since)
            except ConfigDatabaseUnavailableError:
                await asyncio.sleep(0.3)

    async def _follow(self, live: Live, since: str) -> str | None:
        """The version that it shows when it is cut off; None if it has to be drawn anew."""
        stream: Any = await live.open(self.source, since, with_parts=True)
        try:
            async with asyncio.timeout(self._rng.expovariate(1 / self._lasting_s)), aclosing(stream):
                async for text in stream:
                    for kind, data in _events(text):
                        if kind == "whole":
                            return None
                        if kind == "changed":
                            self._show(data["parts"])
                            since = data["version"]
        except TimeoutError:
            pass
        return since

    def _show(self, parts: Mapping[str, str]) -> None:
        if "part-destinations" in parts:
            found = _VERSION.search(parts["part-destinations"])
            assert found is not None
            self.shown = int(found[1])


def _events(text: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for event in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
        if "event" in lines:
            yield lines["event"], msgspec.json.decode(lines["data"])
