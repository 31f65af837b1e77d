"""Several processes: what a second worker adds, what each takes, what each listener costs, what a server can notify."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import monotonic

import httpx

from tests.bench.load import load
from tests.bench.rig import Rig, fill
from tests.bench.rows import Row, at_least, fact, in_turn
from tests.bench.writers import ONE_ROW, commits
from tests.fixtures.databases import Sql

_WRITERS = 16
_PATIENCE_S = 120


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Requests and memory of two workers; commits while several processes listen, and then many sessions."""
    async for row in _reading(rig):
        yield row
    async for row in _listening(rig):
        yield row
    async for row in _notifying(rig):
        yield row


async def _reading(rig: Rig) -> AsyncIterator[Row]:
    with ExitStack() as stack:
        config = stack.enter_context(rig.database())
        (source,) = fill(config, 1, 50)
        one = stack.enter_context(_workers(rig, config, 1))
        two = stack.enter_context(_workers(rig, config, 2))

        async def rate(url: str) -> float:
            # The load has one core: what is left of it is the workers', as is the other.
            return (await load(f"{url}/api/v1/sources/{source}/details", rig.seconds, core=0)).rate

        ours, theirs = await in_turn(rig.rounds, partial(rate, two), partial(rate, one), warm_up=1)
        cores = len(os.sched_getaffinity(0))
        name = f"requests/s, 2 workers on {cores} cores, one of them the load's"
        yield at_least(name, "1 worker", 1, ours, theirs, "/s")
        supervisor, helper, *workers = [_memory(pid) / 2**20 for pid in _family(rig.pids[two])]
        yield fact(
            "memory of 2 workers", "a process alone",
            f"{' and '.join(f'{worker:,.0f}' for worker in workers)} MiB, their supervisor {supervisor:,.0f}, and "
            f"Python's resource tracker {helper:,.0f}; alone {_memory(rig.pids[one]) / 2**20:,.0f}",
        )  # fmt: skip


async def _listening(rig: Rig) -> AsyncIterator[Row]:
    with ExitStack() as stack:
        # A NOTIFY wakes the listeners in its own database alone.
        dsns = {}
        for count in (1, 4) if rig.is_quick else (1, 4, 16):
            config = stack.enter_context(rig.database())
            fill(config, _WRITERS, 1)
            stack.enter_context(_workers(rig, config, count))
            dsns[count] = rig.postgres.dsn(config.info.dbname)

        async def rate(count: int) -> float:
            return await asyncio.to_thread(commits, dsns[count], _WRITERS, rig.seconds, ONE_ROW)

        for count in list(dsns)[1:]:
            ours, theirs = await in_turn(rig.rounds, partial(rate, count), partial(rate, 1), warm_up=1)
            name = f"commits/s, {_WRITERS} writers, {count} processes evict"
            # As many evictions in each process; no more than the machine's cores can be woken at once.
            yield at_least(name, "1 process evicts", 1 / count, ours, theirs, "/s")


async def _notifying(rig: Rig) -> AsyncIterator[Row]:
    """More processes than one machine has: their sessions alone. It is the server that wakes each of them."""
    for count in (64,) if rig.is_quick else (16, 64, 256):
        with ExitStack() as stack:
            dsns = {}
            for listening in (1, count):
                config = stack.enter_context(rig.database())
                fill(config, _WRITERS, 1)
                dsns[listening] = rig.postgres.dsn(config.info.dbname)
                stack.enter_context(_sessions(rig, dsns[listening], listening))

            async def rate(dsn: str) -> float:
                return await asyncio.to_thread(commits, dsn, _WRITERS, rig.seconds, ONE_ROW)

            ours, theirs = await in_turn(rig.rounds, partial(rate, dsns[count]), partial(rate, dsns[1]), warm_up=1)
            yield fact(
                f"commits/s, {_WRITERS} writers, {count} sessions only listen", "1 session listens",
                f"{median(ours):,.0f} and {median(theirs):,.0f} /s",
                median(own / other for own, other in zip(ours, theirs, strict=True)),
            )  # fmt: skip


@contextmanager
def _sessions(rig: Rig, dsn: str, count: int) -> Iterator[None]:
    with rig.child(["tests.bench.listeners", dsn, str(count)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        with child.stdout as said:
            assert said.readline(), "the sessions do not listen"
            yield


@contextmanager
def _workers(rig: Rig, config: Sql, count: int) -> Iterator[str]:
    """A service with so many workers, all of which serve. Small pools: the server's connections are bounded."""
    with rig.served(config, ROSETTA_WORKERS=str(count), ROSETTA_POOL_MIN_SIZE="1", ROSETTA_POOL_MAX_SIZE="2") as url:
        deadline = monotonic() + _PATIENCE_S
        # One that has not started is reported as down.
        while "down" in httpx.get(f"{url}/health/ready", timeout=10).json().get("workers", {}).values():
            assert monotonic() < deadline, "the workers do not start"
        yield url


def _family(pid: int) -> list[int]:
    """The process and its children, in the order of their start."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _memory(pid: int) -> int:
    """Bytes: what it shares with others counts by its part (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
