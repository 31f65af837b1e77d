"""Several processes on one Redis and one config database: work is not repeated by each process."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from service.telemetry.events import Filled, ViewRefreshed
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start

PROCESSES = 4


@pytest.fixture
async def services(start: Start) -> list[Service]:
    """Services, each with its own pool, listener, refresher and caches, and with no work left."""
    started = [await start() for _ in range(PROCESSES)]
    for service in started:
        await covered(service)
    return started


async def covered(service: Service) -> None:
    """Waits until the view covers everything and this service has nothing to refresh."""
    assert await service.runtime.refresher.wait_until_covered(20)


async def test_one_change_is_one_refresh_of_the_view(services: list[Service], config: Sql) -> None:
    """All are notified and all request a refresh; the config database lets one of them run it."""
    source = add_source(config)
    for service in services:
        await covered(service)
    before = sum(len(service.events.of(ViewRefreshed)) for service in services)
    add_table(config, source)
    for service in services:
        await service.settled(config)
        await covered(service)
    assert sum(len(service.events.of(ViewRefreshed)) for service in services) - before == 1


async def test_one_expired_page_is_one_computation_and_one_question_to_the_source(
    services: list[Service], config: Sql, published: Sql, shop_dsn: str, proxy: Callable[..., Awaitable[Proxy]]
) -> None:
    """In whichever process readers arrive; the source's answer serves all of them."""
    assert published
    place: dict[str, Any] = conninfo_to_dict(shop_dsn)
    between = await proxy(place["host"], int(place["port"]))
    source = add_source(config, shop_dsn, pg_host="127.0.0.1", pg_port=between.port)
    for round_number in range(3):
        config.execute("UPDATE sources SET name = %s WHERE id = %s", (f"round {round_number}", source))
        for service in services:
            await service.settled(config)
        seen = [len(service.events.of(Filled)) for service in services]
        for service in services:
            page = await service.details(source)
            assert page.json()["source"]["name"] == f"round {round_number}"
        fills = [len(service.events.of(Filled)) - count for service, count in zip(services, seen, strict=True)]
        assert sum(fills) == 1
    assert between.accepted == 1
