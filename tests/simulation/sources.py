"""The source databases: slow at times, and unreachable at times."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from service.errors import SourceUnreachableError
from service.sources.address import SourceAddress
from service.sources.failures import Failures
from service.sources.questions import Limits
from service.sources.state import SourceState
from service.telemetry.events import Observer
from tests.simulation.config_database import names


class Sources:
    """What the sources publish: `last` is the number of the last table of each."""

    def __init__(self, sources: list[int]) -> None:
        self.last = dict.fromkeys(sources, 1)


class Connections:
    """One process's way to them, as `service.sources.connections.Connections`."""

    limits = Limits(1.0)

    def __init__(self, sources: Sources, rng: random.Random) -> None:
        # None is kept: every source is asked again at once, and no page says that it failed.
        self.failures = Failures(Observer(), 0)
        self._sources = sources
        self._rng = rng
        self._slowness = rng.choice([0.01, 0.05, 0.3])

    async def _ask(self, source: int) -> list[str]:
        """What it publishes at some moment between the question and the answer."""
        await asyncio.sleep(self._rng.expovariate(1 / self._slowness))
        published = names(self._sources.last[source])
        await asyncio.sleep(self._rng.expovariate(1 / self._slowness))
        if self._rng.random() < 0.1:
            raise SourceUnreachableError("no answer")
        return published

    async def fetch(self, address: SourceAddress, *_: Any, **__: Any) -> tuple[dict[str, Any], dict[str, float]]:
        """The tables of its publication."""
        return {"names": await self._ask(address.id)}, {}

    async def use(
        self, address: SourceAddress, _: Any, *, budget_s: float, on_connected: Callable[[], None]
    ) -> tuple[SourceState, dict[str, float]]:
        """What a sync reads."""
        assert budget_s
        on_connected()
        published = await self._ask(address.id)
        return SourceState(
            server={}, incarnation="one",
            publication={"has_publication": True, "named_alike": [], "is_all_tables": True},
            source_snapshot=str(len(published)), slot=None, wal_lsn=None, tables=msgspec.json.encode(published),
            table_count=len(published), unread={}, fails={}, not_known={},
        ), {}  # fmt: skip
