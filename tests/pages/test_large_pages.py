"""What large pages are spared: waiting until Redis has taken them, and being sent again to a process that has them."""

import pytest
import redis as sync_redis

from service.http import compression, sources
from service.pages import filling
from service.pages.page import Answer
from service.telemetry.events import Filled, PageReplaced
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service, until


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is answered before it is stored."""
    monkeypatch.setattr(filling, "LARGE", 0)


async def answered(service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Gate, Answer]:
    """A source whose page was answered, while its storing is held at the gate."""
    source = add_source(config)
    await service.settled(config)
    gate = Gate(monkeypatch, service.runtime.cache, "store")
    answer = await service.runtime.pages.read(source)
    await gate.until_reached()
    return source, gate, answer


@pytest.mark.usefixtures("all_are_large")
async def test_large_page_is_answered_before_it_is_stored(
    service: Service, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers who come while it is being stored get it as well; then the process keeps it."""
    source, gate, first = await answered(service, config, monkeypatch)
    pages = service.runtime.pages
    second = await pages.read(source)
    assert second.page is first.page
    assert second.is_collapsed
    assert pages.memory.get(source) is None
    gate.open()
    await service.events.until(Filled, lambda event: event.source_id == source and event.outcome == "stored")
    await until(lambda: not pages._fills)
    assert gate.calls == 1
    third = await pages.read(source)
    assert third.page.body == first.page.body
    assert third.found in ("memory", "redis")
    assert redis.get(f"source_details:{source}") == first.page.body.decode()


@pytest.mark.usefixtures("all_are_large")
async def test_large_page_that_is_evicted_while_it_is_stored_stays_nowhere(
    service: Service, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was answered already, and its fill is still the current one."""
    source, gate, _ = await answered(service, config, monkeypatch)
    pages = service.runtime.pages
    config.execute("UPDATE sources SET name = 'newer'")
    await service.settled(config)
    monkeypatch.undo()
    monkeypatch.setattr(filling, "LARGE", 0)
    assert b'"name":"newer"' in (await pages.read(source)).page.body
    gate.open()
    await service.events.until(Filled, lambda event: event.source_id == source and event.outcome == "refused")
    assert b'"name":"newer"' in (await pages.read(source)).page.body
    await until(lambda: not pages._fills)
    assert '"name":"newer"' in str(redis.get(f"source_details:{source}"))


async def test_page_that_the_process_has_is_not_sent_again(service: Service, config: Sql) -> None:
    """Redis has reported a change of its key, and still holds it."""
    source = add_source(config)
    await service.settled(config)
    pages = service.runtime.pages
    first = (await pages.reload(source)).page
    await until(lambda: pages.memory.last_known(source) is not None)
    claim = await service.runtime.cache.claim(source, "t", force=False, known=(first.digest, len(first.body)))
    assert claim.is_known
    assert claim.page is None
    pages.doubt(source)
    again = await pages.read(source)
    assert again.found == "redis"
    assert again.page.body is first.body


async def test_page_with_another_seal_is_sent(service: Service, config: Sql, redis: sync_redis.Redis) -> None:
    """Another process has stored a newer page of as many bytes."""
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    newer = str(redis.get(f"source_details:{source}")).replace("source-1", "source-2")
    service.plant(redis, source, newer)
    service.runtime.pages.doubt(source)
    assert (await service.details(source)).text == newer


async def test_page_that_was_replaced_by_hand_is_replaced(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """Its seal is still there, and the process still has the right page."""
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    redis.set(f"source_details:{source}", "by hand", keepttl=True)
    service.runtime.pages.doubt(source)
    assert (await service.details(source)).json()["source"]["id"] == source
    assert service.events.of(PageReplaced)
    assert redis.get(f"source_details:{source}") != "by hand"


async def test_large_page_is_not_compressed_for_a_head(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length is left out until somebody has asked for the body; the other headers are those of the GET."""
    monkeypatch.setattr(sources, "LARGE", 0)
    source = add_source(config)
    for number in range(20):
        add_table(config, source, f"table_{number}")
    await service.settled(config)
    path, accept = f"/api/v1/sources/{source}/details", {"accept-encoding": "zstd"}
    compressed: list[str] = []
    encode = compression._ENCODERS["zstd"]

    def watched(body: bytes) -> bytes:
        compressed.append("zstd")
        return encode(body)

    monkeypatch.setitem(compression._ENCODERS, "zstd", watched)
    first = await service.client.head(path, headers=accept)
    assert "content-length" not in first.headers
    assert compressed == []
    whole = await service.client.get(path, headers=accept)
    second = await service.client.head(path, headers=accept)
    assert compressed == ["zstd"]
    ticking = ("age", "cache-status", "content-length", "x-request-id")
    heads = [
        {name: text for name, text in answer.headers.items() if name not in ticking}
        for answer in (first, whole, second)
    ]
    assert heads[0] == heads[1] == heads[2]
    assert first.headers["content-encoding"] == "zstd"
    assert second.headers["content-length"] == whole.headers["content-length"]
