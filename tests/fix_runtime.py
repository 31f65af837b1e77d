"""The service inside the test's own process, over real servers, with its events to wait for."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx
import pytest
import redis as sync_redis
from pydantic import SecretStr

from service.app import App, build
from service.config.settings import Settings
from service.runtime import Runtime
from service.telemetry.events import Event, Evicted, Observer
from tests.fix_databases import Sql, as_service
from tests.fix_metadata import KEY
from tests.fix_secrets import Walker
from tests.fix_servers import Servers

E = TypeVar("E", bound=Event)

# Ids that no source has, to recognise a notification by.
_marks = itertools.count(1_000_000_000)


async def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds, looked at whenever the loop has done something."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # for what has no event of its own
            await asyncio.sleep(0)


class Watched(Observer):
    """An observer that remembers its events, so that a test can wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._more = asyncio.Event()
        self.subscribe(self._note)

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    def of(self, kind: type[E]) -> list[E]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], which: Callable[[E], bool] = lambda _: True, after: int = 0) -> E:
        """The first such event past the first `after` events; waits for it."""
        async with asyncio.timeout(60):
            while True:
                for event in self.events[after:]:
                    if isinstance(event, kind) and which(event):
                        return event
                self._more.clear()
                await self._more.wait()


class Service:
    """A running service: its runtime, its application, an HTTP client, its events."""

    def __init__(self, runtime: Runtime, app: App, client: httpx.AsyncClient, events: Watched) -> None:
        self.runtime = runtime
        self.app = app
        self.client = client
        self.events = events

    async def settled(self, config: Sql) -> None:
        """Waits until every notification sent so far has been heard and carried out."""
        mark = next(_marks)
        config.execute("SELECT pg_notify('source_details_changed', %s)", (str(mark),))
        await self.events.until(
            Evicted, lambda event: event.sources is None or mark in event.sources, len(self.events.events)
        )
        # One that was heard before it may still be on its way to Redis.
        await until(lambda: not self.runtime.cache._evicting)

    async def details(self, source_id: int = 1, **options: Any) -> httpx.Response:
        """A page that has to be there."""
        response = await self.client.get(f"/api/v1/sources/{source_id}/details", **options)
        assert response.status_code == 200, response.text
        return response

    async def sync(self, source_id: int = 1) -> dict[str, Any]:
        """The body of a page with force_refresh."""
        body: dict[str, Any] = (await self.details(source_id, params={"force_refresh": "true"})).json()
        return body


Start = Callable[..., Any]


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """A Redis with nothing in it."""
    with sync_redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
def redis(redis_url: str) -> Iterator[sync_redis.Redis]:
    """What an operator with redis-cli has."""
    with sync_redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def start(config_dsn: str, redis_url: str, no_leaks: Walker) -> AsyncIterator[Start]:
    """Starts services; with other settings by keyword."""
    async with AsyncExitStack() as stack:

        async def start_one(**changes: Any) -> Service:
            chosen = settings(**({"config_dsn": as_service(config_dsn), "redis_url": redis_url} | changes))
            events = Watched()
            runtime = Runtime(chosen, events)
            stack.push_async_callback(runtime.stop)
            await runtime.start()
            app = build(runtime, chosen)
            transport = httpx.ASGITransport(app=app.asgi)  # type: ignore[arg-type]  # Litestar types its own
            client = await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=transport,
                    base_url="http://service",
                    event_hooks={"response": [no_leaks.look_at_response]},
                )
            )
            return Service(runtime, app, client, events)

        yield start_one
        with sync_redis.Redis.from_url(redis_url) as redis:
            no_leaks.look_at_redis(redis)


def settings(**changes: Any) -> Settings:
    """Settings for a test: patient with a busy machine, and quick to look after itself."""
    values: dict[str, Any] = {
        "CREDENTIAL_ENCRYPTION_KEY": SecretStr(KEY),
        "publication_budget_ms": 3000,
        "redis_timeout_ms": 3000,
        "pool_max_size": 6,
        "sample_share": 0.0,
        "syncs_per_minute": 0,
        "sync_interval_s": 0,
        "warm_pages": 0,
    }
    return Settings(**(values | changes))


@pytest.fixture
async def service(start: Start) -> Service:
    """One running service."""
    started: Service = await start()
    return started
