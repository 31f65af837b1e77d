"""Runs worlds, one seed after the other, and shrinks what fails to the steps that it takes."""

import asyncio
import importlib
import pkgutil
import random
import re
import time
import warnings
from collections.abc import Sequence

import psycopg
import structlog

import service
from tests.simulation.clock import DeadlockError, VirtualLoop, stop_the_clock, use
from tests.simulation.script import Step, script
from tests.simulation.world import Verdict, World


def prepare() -> None:
    """Gives the service the virtual clock, and silences its log."""
    stop_the_clock(
        [
            importlib.import_module(found.name)
            for room in ("cache", "pages", "sources", "database", "web")
            for found in pkgutil.iter_modules([f"{service.__path__[0]}/{room}"], f"service.{room}.")
        ]
    )
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    warnings.simplefilter("ignore", ResourceWarning)


def run(seed: int, steps: Sequence[Step] | None = None) -> Verdict:
    """One run; with other steps than the seed's own if they are given."""
    random.seed(seed)
    loop = VirtualLoop()
    use(loop)
    world = World(seed, loop, list(script(seed) if steps is None else steps))
    # An error in a callback reaches nobody otherwise.
    loop.set_exception_handler(lambda _, context: world.fail(f"unhandled: {context.get('exception', context)!r}"))
    connect = psycopg.AsyncConnection.connect
    psycopg.AsyncConnection.connect = world.connect  # type: ignore[method-assign, assignment]  # the network
    try:
        loop.run_until_complete(world.run())
    except DeadlockError:
        world.fail("everybody waits, and nothing will ever happen; or time stands still")
    finally:
        psycopg.AsyncConnection.connect = connect  # type: ignore[method-assign]
        _end(loop)
    return world.verdict


def _end(loop: VirtualLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    for _ in range(100):
        left = asyncio.all_tasks(loop)
        if not left:
            break
        for task in left:
            task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.close()


def _kind(verdict: Verdict) -> str:
    """What the first finding is about, whatever its numbers."""
    return re.sub(r"[0-9.]+", "", verdict.found[0]) if verdict.found else ""


def shrink(seed: int, most_s: float = 120) -> list[Step]:
    """The fewest steps found with which this seed still fails so: drops ever smaller parts, as long as it does."""
    steps = script(seed)
    end = time.monotonic() + most_s
    wanted = _kind(run(seed))
    size = max(len(steps) // 2, 1)
    while size >= 1 and time.monotonic() < end:
        start, has_shrunk = 0, False
        while start < len(steps) and time.monotonic() < end:
            fewer = steps[:start] + steps[start + size :]
            if _kind(run(seed, fewer)) == wanted:
                steps, has_shrunk = fewer, True
            else:
                start += size
        if size == 1 and not has_shrunk:
            break
        size = max(size // 2, 1) if size > 1 else (1 if has_shrunk else 0)
    return steps
