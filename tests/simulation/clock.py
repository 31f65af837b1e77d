"""An event loop in virtual time: to wait is to move the clock."""

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Any, Protocol

# So many steps without a wait are no work any more.
_MOST_STEPS_AT_ONCE = 1_000_000


class DeadlockError(Exception):
    """Everybody waits, and nothing will ever happen; or somebody goes round in circles, and time stands still."""


class Network(Protocol):
    """What connections are made through."""

    async def connect(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
        """A transport and its protocol, as asyncio's `create_connection`."""


class _ClockSelector(selectors.BaseSelector):
    """No file ever becomes readable."""

    loop: "VirtualLoop"
    idle_steps = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, -1, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, -1, 0, None)

    def get_map(self) -> Any:
        return {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError
        self.idle_steps = 0 if timeout > 0 else self.idle_steps + 1
        if self.idle_steps > _MOST_STEPS_AT_ONCE:
            raise DeadlockError
        self.loop.clock += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`clock` is the time in seconds."""

    def __init__(self, network: Network | None = None) -> None:
        selector = _ClockSelector()
        self.clock = 1000.0
        self.network = network
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-9
        # By the number of their file: nothing but their owner makes one of them readable.
        self.readers: dict[Any, Callable[[], None]] = {}

    def time(self) -> float:
        return self.clock

    def run_in_executor(self, _: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # as above
        # No thread: it would have a clock of its own.
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def add_reader(self, fd: Any, callback: Any, *_: Any) -> None:  # type: ignore[override]  # nobody gives arguments
        self.readers[fd] = callback

    def remove_reader(self, fd: Any) -> bool:
        return self.readers.pop(fd, None) is not None

    async def create_connection(  # type: ignore[override]  # what redis-py uses of it
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        assert self.network is not None
        return await self.network.connect(factory, host, port)


_loop: list[VirtualLoop] = []
_real = time.monotonic


def monotonic() -> float:
    """The time of the loop that runs."""
    return _loop[-1].clock


def stop_the_clock(modules: list[Any]) -> None:
    """Gives these modules the loop's time instead of the machine's."""
    for module in modules:
        if getattr(module, "monotonic", None) is _real:
            module.monotonic = monotonic


def use(loop: VirtualLoop) -> None:
    """Makes this the loop whose time everybody sees."""
    _loop[:] = [loop]
    asyncio.set_event_loop(loop)
