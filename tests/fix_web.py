"""The service over a real socket, its live streams, and a real browser to look at it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright, expect

from service.cli.serve import Server
from tests.fix_databases import Sql
from tests.fix_runtime import Service

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OWN = Path(sys.prefix) / "browsers"
_HOW = "no Chromium was found: install one (apt-get install chromium), or name one in ROSETTA_CHROMIUM"
# It calls nobody but us.
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

# Where a bound is meant the test says so; a slow machine is none.
expect.set_options(timeout=20_000)


@dataclass
class Heard:
    """One server-sent event."""

    kind: str
    number: str | None
    data: dict[str, Any]


class Site:
    """A service that answers at `url`."""

    def __init__(self, service: Service, url: str, server: uvicorn.Server) -> None:
        self.service = service
        self.url = url
        self.server = server

    @asynccontextmanager
    async def events(
        self, source_id: int, since: str | None = None, last: str | None = None
    ) -> AsyncIterator[AsyncIterator[Heard]]:
        """A live stream with parts; `last` is a Last-Event-ID."""
        parameters = {"parts": "true"} | ({"since": since} if since else {})
        headers = {"Last-Event-ID": last} if last else {}
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=60) as client,
            client.stream("GET", f"/api/v1/sources/{source_id}/events", params=parameters, headers=headers) as response,
        ):
            assert response.status_code == 200, await response.aread()
            yield _parsed(response)


async def _parsed(response: httpx.Response) -> AsyncIterator[Heard]:
    facts: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            facts[name] = value
        elif "event" in facts:
            yield Heard(facts["event"], facts.get("id"), json.loads(facts["data"]))
            facts = {}
        else:
            facts = {}


async def until(stream: AsyncIterator[Heard], which: Callable[[Heard], object]) -> Heard:
    """The first such event."""
    async with asyncio.timeout(60):
        async for heard in stream:
            if which(heard):
                return heard
    raise AssertionError("the stream ended")


Open = Callable[..., Awaitable[Site]]


async def show(page: Page, site: Site, source: int, query: str = "") -> None:
    """Opens a source's page, and waits until it is live."""
    await page.goto(f"{site.url}/sources/{source}/details{query}")
    await expect(page.locator("#live")).to_have_text("Live")


async def add_version(config: Sql, table: int, version: int) -> None:
    """As a program beside us writes it."""
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type) "
        "VALUES (%s, %s, 'NEW COLUMN')",
        (table, version),
    )


@pytest.fixture
async def serve_site() -> AsyncIterator[Callable[[Service], Awaitable[Site]]]:
    """Puts services behind sockets."""
    async with AsyncExitStack() as stack:

        async def serve(service: Service) -> Site:
            config = uvicorn.Config(
                service.app.asgi, port=0, log_config=None, access_log=False, lifespan="off",
                timeout_graceful_shutdown=5,
            )  # fmt: skip
            server = Server(config, service.runtime)
            running = asyncio.create_task(server._serve())
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for that
                await asyncio.sleep(0)

            async def end() -> None:
                server.should_exit = True
                await running

            stack.push_async_callback(end)
            port = server.servers[0].sockets[0].getsockname()[1]
            return Site(service, f"http://127.0.0.1:{port}", server)

        yield serve


@pytest.fixture
async def site(service: Service, serve_site: Callable[[Service], Awaitable[Site]]) -> Site:
    """One service behind a socket."""
    return await serve_site(service)


def _chromium(request: pytest.FixtureRequest) -> str:
    named = os.environ.get("ROSETTA_CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None and "browser" in (request.config.getoption("markexpr") or ""):
        # Asked for by name: then it is worth a download, into the checkout.
        environment = os.environ | {"PLAYWRIGHT_BROWSERS_PATH": str(_OWN)}
        subprocess.run(
            [sys.executable, "-m", "playwright", "install", "chromium"],
            env=environment, check=False, capture_output=True, timeout=300,
        )  # fmt: skip
    if found is None:
        found = next((str(path) for path in _OWN.glob("chromium-*/*/chrome")), None)
    if found is None:
        pytest.skip(_HOW)
    return found


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> str:
    """Where a Chromium is; skips where there is none."""
    return _chromium(request)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A real browser."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=_QUIET)
        yield launched
        await launched.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A tab whose page never complains: no failed script, no request to elsewhere, nothing that its policy forbids."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    opened = await context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None,
    )
    opened.on(
        "request",
        lambda request: None if "127.0.0.1" in request.url else complaints.append(f"request to {request.url}"),
    )
    yield opened
    await context.close()
    assert complaints == []
