"""What a change of one table costs besides time: the bytes that Redis receives, and the memory of the process.

Of Linux alone the kernel can be asked for a process's greatest memory since a moment (`clear_refs`, `VmHWM`).
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import httpx
import redis.asyncio

from tests.bench.changed import until_changed
from tests.bench.interval import FEWEST
from tests.bench.load import PLAIN
from tests.bench.rig import Rig, asynchronous, fill
from tests.bench.rows import Row, at_most
from tests.fixtures.databases import Sql

# A page is stored once, and asked for a few times.
_STORED = 1.1
# The rows from the database, the page, its compressed form, a buffer each to send and to store it.
_HELD = 8
_HELD_AT_LEAST = 4 * 2**20
_FORGET_PEAK = "5"
_STORED_WITHIN_S, _LOOK_AGAIN_S = 10, 0.01


async def rows(rig: Rig, config: Sql, source: int, tables: int) -> AsyncIterator[Row]:
    """Of a process that has nothing to do but that source."""
    (other,) = fill(config, 1, 1)
    with rig.served(config) as url:
        async with (
            await asynchronous(config) as writer,
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            redis.asyncio.Redis.from_url(rig.valkey.url) as cache,
        ):
            # The process has its modules and its connections before it has the page.
            await until_changed(writer, client, other, "first")
            empty = _peak_from_now(rig.pids[url])
            page = await client.get(f"/api/v1/sources/{source}/details", headers=PLAIN)
            size = len(page.raise_for_status().content)
            stored, held = [], []
            for number in range(-1, FEWEST):
                before = await _received(cache)
                _peak_from_now(rig.pids[url])
                await until_changed(writer, client, source, str(number))
                # A large page is answered first: the next change would be measured while this one is being stored.
                await _until_stored(cache, source)
                # The first change after a start has nothing to build upon.
                if number >= 0:
                    stored.append(float(await _received(cache) - before))
                    held.append(float((_peak(rig.pids[url]) or 0) - (empty or 0)))
    sizes = [float(size)] * FEWEST
    yield at_most(
        f"bytes that Redis receives as one table of {tables:,} changes", "the page's bytes", _STORED, stored, sizes,
        figures=f"{median(stored):,.0f} and {size:,} bytes",
    )  # fmt: skip
    if empty is not None:
        yield at_most(
            f"memory at its peak as one table of {tables:,} changes", "8 times the page, at least 4 MiB", 1, held,
            [float(max(_HELD * size, _HELD_AT_LEAST))] * FEWEST,
            figures=f"{median(held) / 2**20:,.1f} MiB more than the {empty / 2**20:,.0f} without the page",
        )  # fmt: skip


async def _until_stored(cache: "redis.asyncio.Redis", source: int) -> None:
    async with asyncio.timeout(_STORED_WITHIN_S):
        while not await cache.exists(f"source_details:{source}"):  # noqa: ASYNC110  # as long as any reader would wait
            await asyncio.sleep(_LOOK_AGAIN_S)


async def _received(cache: "redis.asyncio.Redis") -> int:
    return int((await cache.info("stats"))["total_net_input_bytes"])


def _peak(process: int) -> int | None:
    """The most memory (RSS, bytes) that a process has had since `_peak_from_now`; None if the system does not say."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process}/status").read_text(), re.M)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024


def _peak_from_now(process: int) -> int | None:
    """Forgets the peak, and returns the memory at present; None if the system cannot."""
    try:
        Path(f"/proc/{process}/clear_refs").write_text(_FORGET_PEAK)
    except OSError:
        return None
    return _peak(process)
