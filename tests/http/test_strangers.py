"""Thousands of requests of strangers, whole, cut and slow, to every endpoint: nothing breaks, and nothing is kept."""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service.config import tokens
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.process import Process, StartProcess

pytestmark = pytest.mark.operations

# For each endpoint and kind of access. A long run by hand: ROSETTA_STRANGERS=10000 bin/test -k strangers
_EACH = int(os.environ.get("ROSETTA_STRANGERS", "150"))
_CONNECTIONS = 16
_ENDPOINTS = (
    "/api/v1/sources", "/api/v1/sources/{}", "/api/v1/sources/{}/details", "/api/v1/sources/{}/refresh",
    "/api/v1/sources/{}/available_tables", "/api/v1/sources/{}/events", "/api/v1/sources/tables/{}/schema",
    "/", "/sources/{}/details", "/sources/{}/refresh", "/sources/tables/{}", "/assets/{}/page.js", "/metrics",
    "/health/live", "/health/ready", "/schema/openapi.json", "/{}",
)  # fmt: skip
_METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X")
_IDS = (
    "1", "2", "1", "2", "0", "-1", "999", "2147483648", "9" * 400, "abc", "1.0", "%31", "%00", "..", "%2e%2e", "1%2f2",
    "\u0661", "%ff", "1;x", "a" * 2000, "", "1'--", "<script>", "%E2%80%AE", "{}", "%s",
)  # fmt: skip
_VALUES = (
    "true", "false", "1", "", "%00", "x" * 1500, "%F0%9F%98%80", "%ff%fe", "-1", "99999999999999999999", "'", "../..",
    "\x7f", "1&1", "%0d%0aSet-Cookie:x=1", "<b>",
)  # fmt: skip
_NAMES = (
    "force_refresh", "refresh", "skip", "limit", "search", "state", "sort", "span", "from", "to", "fresh", "version",
    "before", "fragment", "since", "parts", "x", "%00", "a[]", "x" * 200,
)  # fmt: skip
_HEADERS = {
    "Accept": ("text/html", "*/*", "application/json", "text/event-stream", "x" * 3000, ""),
    "Accept-Encoding": ("zstd", "gzip", "gzip;q=0", "*", ",,,", "x" * 3000, "identity;q=0"),
    "Cache-Control": ("no-cache", "max-age=0", "x", "no-cache" * 300),
    "If-None-Match": ("*", '"x"', 'W/"' + "y" * 3000 + '"', ",", '"'),
    "Origin": ("null", "http://localhost", "https://evil.example.com", "\xff"),
    "Referer": ("http://localhost/", "x", "http://[", "\xff"),
    "Host": ("localhost", "evil.example.com", "", "localhost:99999999", "[::1", "\xff"),
    "Last-Event-ID": ("1", "-1", "9" * 100, "x\xff"),
    "X-Request-ID": ("ok", "x" * 500, "\xff", ""),
    "X-Forwarded-For": ("1.2.3.4", "x" * 4000, "::1, 1", "\xff"),
    "Content-Length": ("0", "5", "-1", "x", "99999999999", "65537"),
    "Transfer-Encoding": ("chunked", "gzip", "x"),
    "Expect": ("100-continue", "x"),
    "Connection": ("close", "keep-alive", "upgrade"),
    "Upgrade": ("websocket", "h2c"),
    "Cookie": ("a=b", "\xff" * 100),
    "User-Agent": ("Mozilla/5.0", "curl/8", ""),
    "Sec-Fetch-Site": ("cross-site", "same-origin", "x"),
}


class Stranger:
    """One connection after the other, with requests of its own; `statuses` counts the answers."""

    def __init__(self, process: Process, seed: int, authorizations: list[str], statuses: Counter[str]) -> None:
        self._process = process
        self._random = random.Random(seed)
        self._authorizations = authorizations
        self._statuses = statuses

    async def run(self, count: int) -> None:
        """Sends so many requests to each endpoint, in random order."""
        waiting = [endpoint for endpoint in _ENDPOINTS for _ in range(count)]
        self._random.shuffle(waiting)
        while waiting:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._process.port)
                try:
                    while waiting and await self._ask(reader, writer, waiting.pop()):
                        pass
                finally:
                    writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: str) -> bool:
        """Whether the connection can be used again."""
        choose = self._random
        text, is_head = self._request(endpoint)
        if choose.random() < 0.05:
            # Cut: somebody goes away in the middle.
            writer.write(text[: choose.randrange(len(text))])
            await writer.drain()
            return False
        if choose.random() < 0.02:
            # Slow: byte by byte.
            for start in range(min(len(text), 200)):
                writer.write(text[start : start + 1])
                await writer.drain()
            writer.write(text[200:])
        else:
            writer.write(text)
        if choose.random() < 0.03:
            # Does not wait for the answer.
            await writer.drain()
            return False
        head = (await asyncio.wait_for(_head(reader), 30)).decode("latin-1")
        self._statuses[head[9:12]] += 1
        assert head[9:12] != "500", (text[:300], head)
        length = re.search(r"content-length: (\d+)", head, re.I)
        if length is None or "text/event-stream" in head or "connection: close" in head.lower():
            return False
        if not is_head and head[9:12] not in ("204", "304"):
            await asyncio.wait_for(reader.readexactly(int(length[1])), 30)
        return True

    def _request(self, endpoint: str) -> tuple[bytes, bool]:
        choose = self._random
        path = endpoint.format(choose.choice(_IDS))
        for mark in "?" + "&" * choose.choice((0, 0, 1, 3, 40)) if choose.random() < 0.5 else "":
            path += f"{mark}{choose.choice(_NAMES)}={choose.choice(_VALUES)}"
        sent = {"Host": "localhost"}
        for name in choose.sample(list(_HEADERS), choose.choice((0, 0, 1, 2, 6))):
            sent[name] = choose.choice(_HEADERS[name])
        if self._authorizations:
            sent["Authorization"] = choose.choice(self._authorizations)
        method = choose.choice(_METHODS)
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        chunked = b"5\r\nhello\r\n0\r\n\r\n" if "Transfer-Encoding" in sent else b""
        body = b"hello" if "Content-Length" in sent else chunked
        return head.encode("utf-8", "surrogateescape") + b"\r\n" + body, method == "HEAD"


async def _head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def memory_mb(process: Process) -> float:
    """The resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def held(process: Process, headers: dict[str, str]) -> tuple[int, int]:
    """Its tasks and descriptors."""
    text = process.client.get("/metrics", headers=headers).text
    found = re.search(r"^rosetta_tasks (\d+)", text, re.M)
    assert found is not None
    return int(found[1]), len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("access", ["open", "operate", "read", "nobody"])
async def test_nothing_breaks_and_nothing_is_kept(
    serve: StartProcess, config: Sql, shop_dsn: str, tell: Callable[[str], None], access: str
) -> None:
    """No 500, and in the end as many tasks and descriptors as before, and hardly more memory."""
    source, dead = add_source(config, shop_dsn), add_source(config)
    for number in (source, dead):
        add_pipeline(config, number, "warehouse")
        add_table(config, number, "t")
    token, entry = tokens.new("stranger", "read" if access == "read" else "operate")
    process = serve(
        ROSETTA_ACCESS_TOKENS=None if access == "open" else entry,
        ROSETTA_SYNCS_PER_MINUTE="60",
        ROSETTA_LOG_LEVEL="error",
        ROSETTA_MEMORY_CACHE_MB="8",
    )
    process.until_ready()
    own = {} if access == "open" else {"Authorization": f"Bearer {token}"}
    basic = "Basic " + "eDpi" * 20
    given = {
        "open": [],
        "nobody": ["", "Bearer", "Bearer x", basic, "Basic \xff", "Bearer " + "x" * 3000, "Digest x", entry],
    }.get(access, [own.get("Authorization", "")])
    statuses: Counter[str] = Counter()

    async def ask(count: int, seed: int) -> None:
        strangers = [Stranger(process, seed + n, given, statuses) for n in range(_CONNECTIONS)]
        async with asyncio.timeout(3000):
            await asyncio.gather(*(stranger.run(max(count // _CONNECTIONS, 1)) for stranger in strangers))

    # Once, so that what is loaded, kept and pooled by anybody is there.
    await ask(_CONNECTIONS * 2, 1000)
    before_mb = memory_mb(process)
    tasks, descriptors = held(process, own)
    await ask(_EACH, 2000)
    grown_mb = memory_mb(process) - before_mb
    async with asyncio.timeout(60):
        while True:
            tasks_after, descriptors_after = held(process, own)
            # Connections that were cut are closed when the server notices.
            if tasks_after <= tasks + 8 and descriptors_after <= descriptors + 8:
                break
            await asyncio.sleep(0.2)
    tell(
        f"strangers, access {access}: {sum(statuses.values())} answers {dict(sorted(statuses.items()))}, "
        f"{grown_mb:.1f} MB more, {tasks_after} tasks ({tasks}), {descriptors_after} descriptors ({descriptors})"
    )
    assert grown_mb < 40
    assert "500" not in statuses
    if access == "nobody":
        assert not {"502", "503"} & set(statuses)
    assert "Traceback" not in process.log
