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
_TABLE = re.compile(r"\bt([0-9]+)\W.*?\b([0-9]+) by ([0-9]+)")


def tables_of(text: str) -> list[tuple[int, int, int]]:
    """What JSON or HTML shows of each table: its number, what was written, and by which functions the text is."""
    return [(int(table), int(written), int(functions)) for table, written, functions in _TABLE.findall(text)]


class OpenPage:
    """The page of a source, at any of these processes; `shown` is the version that it shows now, and `tables` how."""

    def __init__(self, source: int, processes: Sequence[Live], rng: random.Random) -> None:
        self.source = source
        self.shown = 0
        self._rows: dict[str, str] = {}
        self._processes = processes
        self._rng = rng
        self._lasting_s = rng.choice([0.2, 2, 50])

    @property
    def tables(self) -> list[tuple[int, int, int]]:
        """What it shows of its tables."""
        return tables_of("".join(self._rows.values()))

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
                    self._rows = {name: row.html for name, row in portrait.rows.items()}
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
        self._rows |= {name: parts[name] for name in self._rows.keys() & parts.keys()}
        if "part-destinations" in parts:
            found = _VERSION.search(parts["part-destinations"])
            assert found is not None
            self.shown = int(found[1])


def _events(text: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for event in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
        if "event" in lines:
            yield lines["event"], msgspec.json.decode(lines["data"])
