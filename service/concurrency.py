"""Timeouts, work that callers share, pauses that grow with each failure, and supervised tasks."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Iterable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_RESTART_PAUSE_S = 1.0
_CANCEL_AGAIN_S = 0.2

_left_behind: set[asyncio.Task[Any]] = set()


def keep(task: asyncio.Task[Any]) -> None:
    """Keeps a task that nobody awaits from being garbage-collected, and retrieves its exception."""
    _left_behind.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, or TimeoutError after `seconds`; `work` is then cancelled, and its cleanup is not awaited.

    `asyncio.timeout` would wait for the cleanup as well, which takes many seconds for a connection to a host that
    drops packets.
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


async def all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """The outcomes of all `works`; the first failure, once all of them have ended.

    `asyncio.gather` raises at once. The others would go on beside whatever the caller does next.
    """
    found = await asyncio.gather(*works, return_exceptions=True)
    for outcome in found:
        if isinstance(outcome, BaseException):
            raise outcome
    return cast("list[T]", found)


async def end(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancels the tasks, and returns when all have ended, however they end.

    A task may lose its first cancellation. On Python 3.11 asyncio.wait_for, which psycopg and redis-py use, drops a
    cancellation if the result that it waits for arrives at the same moment
    (https://github.com/python/cpython/issues/86296). Such a task goes on, so this cancels again until it has ended.

    Cancelled itself, it is cancelled only when they have ended: their owner closes next what they use.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        except asyncio.CancelledError as error:
            # Whoever ends the owner may cancel it several times: each time the tasks still have to end.
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            # Retrieved, or asyncio would report it as lost.
            task.exception()
    if cancelled is not None:
        raise cancelled


class Backoff:
    """Pauses between attempts, each about twice as long as the last, with jitter, up to `longest_s`."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._failures = 0

    def reset(self) -> None:
        """Makes the next pause short again, after a success."""
        self._failures = 0

    async def pause(self) -> None:
        """Waits before the next attempt."""
        self._failures += 1
        await asyncio.sleep(min(0.05 * 2**self._failures, self._longest_s) * random.uniform(0.5, 1))


class Turnstile(Generic[K, T]):
    """Per key, one piece of work runs and at most one more waits; callers share the waiting one.

    A caller never shares work that was already running when it called: that work may have read what the caller knows
    to be outdated. It shares the waiting one, which starts when the running one has ended.
    """

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[T]] = {}
        self._waiting: dict[K, asyncio.Task[T]] = {}

    async def pass_through(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """The outcome of a run of `work` that starts after this call. Cancelling a caller does not stop the run."""
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
            # The waiting run takes over here, in the same step: a caller that arrives in between must find it running.
            if (following := self._waiting.pop(key, None)) is not None:
                self._running[key] = following
            else:
                del self._running[key]

    async def _run_after(self, running: asyncio.Task[T], key: K, work: Callable[[], Awaitable[T]]) -> T:
        await asyncio.wait({running})
        return await self._run(key, work)


class Supervisor:
    """Runs tasks until they are stopped. A task that ends or fails is restarted; `on_failure` gets each failure."""

    def __init__(self, on_failure: Callable[[str, Exception], None]) -> None:
        self._on_failure = on_failure
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """How many tasks have not ended."""
        return sum(not task.done() for task in self._tasks)

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs `run`, and again whenever it ends."""

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
        await end(self._tasks)
        self._tasks.clear()
