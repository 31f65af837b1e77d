"""How things grow: refreshing the view, the memory of a process; and how long a start takes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx

from service.demo.embedded import free_port
from service.pages.memory import Memory
from service.pages.page import Page
from tests.bench.interval import FEWEST
from tests.bench.rig import Rig, fill
from tests.bench.rows import Row, at_most, counted, in_turn
from tests.fixtures.databases import Sql

_PAGES = 5000
_PAGE_BYTES = 140_000
_LIMIT_MB = 64


async def rows(rig: Rig) -> AsyncIterator[Row]:
    """Each size ten times the one before; both are refreshed in turn."""
    sizes = (1_000, 10_000) if rig.is_quick else (1_000, 10_000, 100_000, 1_000_000)
    curve = rig.curves.setdefault("refresh of the view, seconds", [])
    with ExitStack() as stack:
        before: Sql | None = None
        for tables in sizes:
            config = stack.enter_context(rig.database())
            rig.say(f"{tables:,} tables, 10 versions each")
            fill(config, tables // 100, 100, versions=10)
            if before is not None:
                ours, theirs = await in_turn(FEWEST, partial(_refresh, config), partial(_refresh, before))
                tenfold = [10 * seconds for seconds in theirs]
                yield at_most(f"refresh of {tables:,} tables", "ten times that of a tenth", 1.2, ours, tenfold)
                if len(curve) == 0:
                    curve.append((tables // 10, median(theirs)))
                curve.append((tables, median(ours)))
            before = config
    yield _memory(rig)
    yield await _start(rig)


async def _refresh(config: Sql) -> float:
    started = perf_counter()
    await asyncio.to_thread(config.execute, "REFRESH MATERIALIZED VIEW CONCURRENTLY source_details_tables")
    return perf_counter() - started


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def _memory(rig: Rig) -> Row:
    before = _resident()
    memory = Memory(_LIMIT_MB * 2**20, 300)
    most = 0
    curve = rig.curves.setdefault("process cache, MiB", [])
    for number in range(_PAGES):
        memory.put(number, Page(bytes(bytearray(_PAGE_BYTES)), time.monotonic() + 30, 30), is_current=True)
        most = max(most, memory.bytes)
        if number % 100 == 0:
            curve.append((number, memory.bytes / 2**20))
    grown = (_resident() - before) / 2**20
    return counted(
        "process cache, 5,000 pages of 140 KB", f"its bound, {_LIMIT_MB} MiB", most, _LIMIT_MB * 2**20,
        f"{most / 2**20:,.1f} MiB counted, the process grew by {grown:,.1f} MiB",
    )  # fmt: skip


async def _start(rig: Rig) -> Row:
    times = []
    with rig.database() as config:
        (source,) = fill(config, 1, 50)
        for _ in range(FEWEST):
            port = free_port()
            environment = rig.environment(config, ROSETTA_PORT=str(port))
            started = perf_counter()
            with rig.process(["service", "serve"], environment, port) as url:
                page = await asyncio.to_thread(httpx.get, f"{url}/api/v1/sources/{source}/details")
                page.raise_for_status()
                times.append(perf_counter() - started)
    return at_most(
        "start to the first page", "one second", 1, times, [1.0] * len(times), figures=f"{median(times):,.2f} s"
    )
