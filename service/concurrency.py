"""Waiting with a bound, sharing one piece of work among many callers, pausing longer after each failure."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_RESTART_PAUSE_S = 1.0
_CANCEL_AGAIN_S = 0.2

_left_behind: set[asyncio.Task[Any]] = set()


def keep(task: asyncio.Task[Any]) -> None:
    """Holds on to a task that nobody awaits, so that it is not collected, and reads its outcome."""
    _left_behind.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, or TimeoutError after `seconds`; then `work` is cancelled and left to clean up alone.

    `asyncio.timeout` would wait for the cleaning up as well, which for a connection to a host that swallows packets
    takes many seconds.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=max(seconds, 0))
    except asyncio.CancelledError:
        task.cancel()
        keep(task)
        raise
    if not done:
        task.cancel()
        keep(task)
        raise TimeoutError
    return task.result()


class Backoff:
    """Pauses between attempts: each about twice the one before, with jitter, up to `longest_s`."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._failures = 0

    def reset(self) -> None:
        """After a success: the next pause is short again."""
        self._failures = 0

    async def pause(self) -> None:
        """Waits before the next attempt."""
        self._failures += 1
        await asyncio.sleep(min(0.05 * 2**self._failures, self._longest_s) * random.uniform(0.5, 1))


class Turnstile(Generic[K, T]):
    """Per key at most one piece of work running and one waiting, shared by all who call meanwhile.

    A caller never shares work that was already running when it called: that may have read what the caller knows to
    be old. It shares the one that waits, which starts when the running one has ended.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[T]] = {}
        self._waiting: dict[K, asyncio.Task[T]] = {}

    async def pass_through(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """The outcome of a run of `work` that starts after this call. A caller that leaves does not stop the run."""
        running = self._running.get(key)
        if running is None:
            task = self._running[key] = asyncio.ensure_future(self._run(key, work))
        elif (waiting := self._waiting.get(key)) is not None:
            task = waiting
        else:
            task = self._waiting[key] = asyncio.ensure_future(self._run_after(running, key, work))
        keep(task)
        return await asyncio.shield(task)

    async def _run(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            # The waiting one takes its place here, in the same step: a caller in between must find it running.
            if (following := self._waiting.pop(key, None)) is not None:
                self._running[key] = following
            else:
                del self._running[key]

    async def _run_after(self, running: asyncio.Task[T], key: K, work: Callable[[], Awaitable[T]]) -> T:
        await asyncio.wait({running})
        return await self._run(key, work)


class Supervisor:
    """Tasks that run until they are stopped. One that ends or fails starts again; `on_failure` hears of failures."""

    def __init__(self, on_failure: Callable[[str, Exception], None]) -> None:
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """How many tasks have not ended."""
        return sum(not task.done() for task in self._tasks)

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keeps `run` running."""

        async def supervise() -> None:
            while True:
                try:
                    await run()
                except Exception as error:
                    self._on_failure(name, error)
                await asyncio.sleep(_RESTART_PAUSE_S)

        self._tasks.append(asyncio.create_task(supervise(), name=name))

    async def stop(self) -> None:
        """Cancels every task, and returns when all have ended."""
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            # Once may not be enough: asyncio.wait_for, which psycopg waits with, swallows a cancellation on Python 3.11
            # if what it waits for comes in the same moment (https://github.com/python/cpython/issues/86296).
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        self._tasks.clear()
