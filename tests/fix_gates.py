"""Holding a call of the service at a chosen point, so that a test decides what happens meanwhile."""

import asyncio
from typing import Any

import pytest


class Gate:
    """Stops every call of an async method: before it begins, or `after` it is done and before its caller goes on.

    `reached` is set when a call has come to the gate; `open()` lets it, and all others, pass. `calls` counts.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool = False) -> None:
        self.reached = asyncio.Event()
        self.calls = 0
        self._go = asyncio.Event()
        method = getattr(owner, name)

        async def held(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            outcome = await method(*arguments, **options) if after else None
            self.reached.set()
            await self._go.wait()
            return outcome if after else await method(*arguments, **options)

        monkeypatch.setattr(owner, name, held)

    async def until_reached(self) -> None:
        """Returns when a call waits at the gate."""
        await asyncio.wait_for(self.reached.wait(), 20)

    def open(self) -> None:
        """Lets calls pass, from now on without a stop."""
        self._go.set()
