"""Hot pages are read before anyone requests them: after an eviction, before their life ends, at a start."""

import asyncio
from typing import Any

import pytest
import redis as sync_redis

from service.pages import warming
from service.telemetry.events import TaskFailed, Warmed
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.operations


async def heat(service: Service, source: int) -> None:
    """Reads a page often enough to make it hot."""
    for _ in range(5):
        await service.details(source)


async def hit(service: Service, source: int) -> None:
    """The next reader does not wait for a computation."""
    answer = await service.runtime.pages.read(source)
    assert answer.found in ("memory", "redis")


async def test_hot_page_is_read_again_after_its_eviction(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hot page is read at once; a cold one is not."""
    service: Service = await start(warm_pages=10)
    hot, cold = add_source(config), add_source(config)
    await service.settled(config)
    await heat(service, hot)
    await service.details(cold)
    before = len(service.events.events)
    config.execute("UPDATE sources SET pg_username = 'changed'")
    await service.events.until(Warmed, lambda event: event.source_id == hot, before)
    await hit(service, hot)
    assert "changed" in (await service.details(hot)).text
    assert (await service.runtime.pages.read(cold)).found == "computed"
    monkeypatch.setattr(warming, "_SPACING_S", 0)
    await service.runtime.pages.evict([hot, cold], "notification")
    assert service.runtime.warming.waiting == (hot,)


async def test_everything_hot_is_read_again_after_everything_was_evicted(start: Start, config: Sql) -> None:
    """As after an operator's refresh of the view: the most wanted pages are read, as many as the setting allows."""
    service: Service = await start(warm_pages=2)
    sources = [add_source(config) for _ in range(4)]
    await service.settled(config)
    for number, source in enumerate(sources):
        for _ in range(4 + number):
            await service.details(source)
    before = len(service.events.events)
    await service.runtime.pages.evict(None, "notification")
    wanted = set(sources[2:])
    await until(lambda: wanted <= {event.source_id for event in warmed(service, before)})
    assert {event.source_id for event in warmed(service, before)} == wanted


def warmed(service: Service, before: int) -> list[Warmed]:
    """The `Warmed` events past the first `before` events."""
    return [event for event in service.events.events[before:] if isinstance(event, Warmed)]


async def test_hot_page_is_renewed_before_its_life_ends(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed while it stays hot, and expires afterwards."""
    monkeypatch.setattr(warming, "_TICK_S", 0.05)
    service: Service = await start(warm_pages=10, cache_ttl_s=2)
    source = add_source(config)
    await service.settled(config)
    await heat(service, source)
    before = len(service.events.events)
    for _ in range(2):
        renewed = await service.events.until(Warmed, lambda event: event.is_renewal, before)
        assert renewed.source_id == source
        before = len(service.events.events)
        await hit(service, source)
    monkeypatch.setattr(warming, "_HALF_LIFE_S", 0.001)
    await asyncio.wait_for(until(lambda: service.runtime.pages.memory.get(source) is None), 20)


async def test_what_was_hot_is_read_at_a_start(
    start: Start, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier process noted it in Redis, with a TTL; nonsense under that key does no harm."""
    monkeypatch.setattr(warming, "_TICK_S", 0.05)
    monkeypatch.setattr(warming, "_NOTED_EVERY_S", 0.05)
    first: Service = await start(warm_pages=10)
    source = add_source(config)
    await first.settled(config)
    await heat(first, source)
    await until(lambda: redis.get("{source_details:hot}") == f"[{source}]")
    assert 0 < redis.pttl("{source_details:hot}") <= 3_600_000
    await first.runtime.stop()
    second: Service = await start(warm_pages=10)
    await second.events.until(Warmed, lambda event: event.source_id == source)
    await second.runtime.stop()
    for nonsense in ("x", '{"a": 1}', '["b"]', f"[{2**40}]"):
        redis.set("{source_details:hot}", nonsense)
        third: Service = await start(warm_pages=10)
        assert (await third.details(source)).status_code == 200
        await until(lambda: not third.runtime.warming.waiting)  # noqa: B023  # awaited right here
        assert third.events.of(TaskFailed) == []
        await third.runtime.stop()


async def test_page_that_changes_all_the_time_is_not_read_each_time(
    start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read at most ten times a second; the evictions in between cause no read."""
    service: Service = await start(warm_pages=10)
    source = add_source(config)
    await service.settled(config)
    await heat(service, source)
    monkeypatch.setattr(warming, "_SPACING_S", 3600)
    await service.runtime.pages.evict([source], "notification")
    await service.events.until(Warmed)
    before = len(service.events.events)
    for _ in range(20):
        await service.runtime.pages.evict([source], "notification")
    assert warmed(service, before) == []
    assert service.runtime.warming.waiting == ()


async def test_nothing_is_warmed_where_the_setting_says_so(start: Start, config: Sql) -> None:
    """With the setting at zero pages."""
    service: Service = await start(warm_pages=0)
    source = add_source(config)
    await heat(service, source)
    await service.runtime.pages.evict(None, "notification")
    answer: Any = await service.runtime.pages.read(source)
    assert answer.found == "computed"
