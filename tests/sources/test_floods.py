"""What a source sends is counted as it arrives, once, and is bounded: it may never stop."""

import asyncio
import resource
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from service.sources.source_connection import SourceConnection
from tests.fixtures.databases import Sql
from tests.fixtures.impostor import TEXT, columns, impostor, message, row
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.faults

_DONE = message(b"C", b"OK\0")


async def _endless(first: bytes, more: bytes) -> AsyncIterator[bytes]:
    yield first
    for _ in range(1024):
        yield more


_CHUNK = b"x" * 2**20
_ONE_VALUE = columns([("x", TEXT)]) + b"D" + struct.pack("!IhI", 2**30, 1, 2**30 - 10)
_SETTINGS = b"".join(message(b"S", b"x%d\0y\0" % number) for number in range(20_000))
_ENDLESS = {
    # A gigabyte in one message, which libpq would keep.
    "one value": lambda: _endless(_ONE_VALUE, _CHUNK),
    "one error": lambda: _endless(b"E" + struct.pack("!I", 2**30) + b"SERROR\0M", _CHUNK),
    "rows": lambda: _endless(columns([("x", TEXT)]), row(["x" * 1000]) * 1000),
    "notices": lambda: _endless(b"", message(b"N", b"Mx\0\0") * 50_000),
    "settings": lambda: _endless(b"", _SETTINGS),
    "notifications": lambda: _endless(b"", message(b"A", b"\0\0\0\1x\0" + b"y" * 1000 + b"\0") * 1000),
}


@pytest.mark.parametrize("flood", _ENDLESS.values(), ids=_ENDLESS)
async def test_what_a_source_sends_is_bounded_in_bytes(service: Service, config: Sql, flood: Any) -> None:
    """Not by time alone: in four seconds a gigabyte arrives."""
    async with impostor(lambda statement: _DONE if "remote_begin" in statement else flood()) as other:
        source = add_source(config, pg_port=other.port, pg_password=None, publication_name="rosetta")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = (await service.client.post(f"/api/v1/sources/{source}/refresh")).json()["message"]
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert "it sends more than 32 MB in one answer" in said or "what it sends takes too long to read" in said
    assert grown_mb < 200
    assert not service.runtime.connections._idle


async def test_login_is_bounded_in_bytes(service: Service, config: Sql) -> None:
    """Before a client is in, libpq keeps every setting that it is told."""
    greeting = b"".join(message(b"S", b"x%d\0y\0" % number) for number in range(200_000))
    async with impostor(greeting=greeting) as other:
        source = add_source(config, pg_port=other.port, pg_password=None, publication_name="rosetta")
        said = (await service.client.post(f"/api/v1/sources/{source}/refresh")).json()["message"]
    assert "it sends more than 64 kB in one answer" in said


async def test_answer_that_waits_to_be_read_is_counted_once(shop_dsn: str) -> None:
    """libpq takes some of it at a time, and the loop has other things to do: megabytes may have arrived meanwhile."""

    async def keep_busy() -> None:
        while True:
            time.sleep(0.002)  # noqa: ASYNC251  # it holds up the loop
            await asyncio.sleep(0)

    question = "SELECT repeat('x', 400) FROM generate_series(1, 20000)"
    busy = asyncio.ensure_future(keep_busy())
    try:
        async with await SourceConnection.connect(shop_dsn, autocommit=True) as connection:
            connection.allow(10 * 2**20)
            rows = await (await connection.execute(question)).fetchall()
            assert len(rows) == 20_000
            connection.allow(5 * 2**20)
            with pytest.raises(psycopg.OperationalError, match="it sends more than 5 MB in one answer"):
                await connection.execute(question)
    finally:
        busy.cancel()
