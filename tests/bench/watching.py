"""An open web page: its event stream, and how soon it is told of a committed change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

import httpx
import psycopg

from tests.fixtures.databases import Sql

# Longer than the least time between two events of a source (service/web/live.py), which is not what is measured.
_REST_S = 0.25
_CHANGE = """
    INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
    SELECT %(table)s, max(version_schema) + 1 FROM history_schema_evolution WHERE table_metadata_list_id = %(table)s
"""


@dataclass(frozen=True, slots=True)
class OpenPage:
    """A page that has been told everything so far; `table` is one that it shows."""

    table: int
    lines: AsyncIterator[str]


def _first_table(config: Sql, source: int) -> int:
    row = config.execute("SELECT min(id) AS id FROM table_metadata_list WHERE source_id = %s", (source,)).fetchone()
    assert row is not None
    return int(row["id"])


@asynccontextmanager
async def open_page(config: Sql, url: str, source: int) -> AsyncIterator[OpenPage]:
    """Opens the stream that the script of a page opens."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        client.stream("GET", f"/api/v1/sources/{source}/events", params={"parts": "true"}) as answer,
    ):
        answer.raise_for_status()
        lines = answer.aiter_lines()
        await _until(lines, "event: hello")
        yield OpenPage(_first_table(config, source), lines)


async def told(page: OpenPage, writer: "psycopg.AsyncConnection[object]") -> float:
    """Seconds from the commit of another version of the table until the page has its row."""
    await asyncio.sleep(_REST_S)
    await writer.execute(_CHANGE, {"table": page.table})
    started = perf_counter()
    await _until(page.lines, f'"table-{page.table}"')
    return perf_counter() - started


async def _until(lines: AsyncIterator[str], text: str) -> None:
    async with asyncio.timeout(60):
        async for line in lines:
            if text in line:
                return
    raise AssertionError("the stream has ended")
