"""The listener: how it makes up for lost notifications, and how it detects that it is deaf."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from service.errors import StartError
from service.telemetry.events import Evicted, ListenerDown, ListenerUp
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql, with_database
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.faults


async def test_notification_missed_during_a_lost_connection_is_made_good(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch, bound: Bound
) -> None:
    """A change that was not notified is shown as soon as the service listens again."""
    source = add_source(config)
    await service.settled(config)
    for _ in range(3):
        await service.details(source)
    connecting = Gate(monkeypatch, service.runtime.listener, "_connect")
    seen = len(service.events.events)
    config.execute("SELECT pg_terminate_backend(%s)", (service.runtime.listener.backend_pid,))
    await service.events.until(ListenerDown, after=seen)
    await connecting.until_reached()
    config.execute("UPDATE sources SET name = 'unheard'")
    # Without a listener the TTL alone bounds the age of a page, and the health report says so.
    assert (await service.details(source)).json()["source"]["name"] != "unheard"
    health = (await service.client.get("/health/ready")).json()
    assert health["status"] == "degraded"
    assert health["listener"]["status"] == "down"
    connecting.open()
    with bound("listener's backend terminated: listening again", 8):
        await service.events.until(ListenerUp, after=seen)
    assert (await service.details(source)).json()["source"]["name"] == "unheard"
    assert (await service.client.get("/health/ready")).json()["listener"]["status"] == "up"


async def test_page_is_gone_as_soon_as_its_notification_is_received(service: Service, config: Sql) -> None:
    """A request may be answered before the eviction has its turn: neither with the page nor with a fill of before."""
    source = add_source(config)
    await service.settled(config)
    for _ in range(3):
        await service.details(source)
    pages = service.runtime.pages
    assert pages.memory.get(source) is not None
    before = asyncio.ensure_future(pages.reload(source))
    await asyncio.sleep(0)
    service.runtime.listener._hear(b"%d" % source)
    assert pages.memory.get(source) is None
    assert not (await pages.read(source)).is_collapsed
    await before


async def test_change_between_listen_and_evict_is_heard(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LISTEN comes first: what commits while everything is being evicted is notified on the new connection."""
    source = add_source(config)
    await service.settled(config)
    evicting = Gate(monkeypatch, service.runtime.pages, "evict", after=True)
    seen = len(service.events.events)
    config.execute("SELECT pg_terminate_backend(%s)", (service.runtime.listener.backend_pid,))
    await evicting.until_reached()
    await service.details(source)
    config.execute("UPDATE sources SET name = 'in between'")
    evicting.open()
    await service.events.until(Evicted, lambda event: event.sources == (source,), seen)
    assert (await service.details(source)).json()["source"]["name"] == "in between"


async def test_deaf_connection_is_found_by_the_canary(
    start: Start, config: Sql, config_dsn: str, proxy: Callable[[str, int], Awaitable[Proxy]], bound: Bound
) -> None:
    """The socket stays open and swallows everything: only the missing canary shows it."""
    place = conninfo_to_dict(config_dsn)
    between = await proxy(str(place["host"]), int(str(place["port"])))
    listener_dsn = make_conninfo(config_dsn, host="127.0.0.1", port=between.port)
    service: Service = await start(listener_dsn=SecretStr(listener_dsn), canary_interval_s=0.05)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    seen = len(service.events.events)
    between.swallow()
    config.execute("UPDATE sources SET name = 'swallowed'")
    with bound("listener's connection half-open: found by the canary, the interval aside", 3 + 2):
        down = await service.events.until(ListenerDown, after=seen)
    assert down.reason
    between.flow()
    with bound("listener's connection half-open: listening again", 8):
        await service.events.until(ListenerUp, after=seen)
    assert (await service.details(source)).json()["source"]["name"] == "swallowed"


async def test_lost_listen_is_found_by_the_canary(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection answers but delivers no notifications; for example, a pooler gave it another backend."""
    service: Service = await start(canary_interval_s=0.05)
    assert service.runtime.listener.canary_ms is None or service.runtime.listener.canary_ms < 3000
    # A canary on a channel without a listener does not come back.
    monkeypatch.setattr(service.runtime.listener, "_canary_channel", "a channel that this connection never joined")
    down = await service.events.until(ListenerDown)
    assert "pooler" in down.reason
    await service.events.until(ListenerUp, after=service.events.events.index(down))


async def test_payload_that_is_no_id_means_everything(service: Service, config: Sql) -> None:
    """Another program may send payloads that the service does not know."""
    await service.settled(config)
    for payload in ("*", "", "all", "-1", "1,2", "9" * 30):
        seen = len(service.events.events)
        config.execute("SELECT pg_notify('source_details_changed', %s)", (payload,))
        evicted = await service.events.until(Evicted, lambda event: event.cause == "notification", seen)
        assert evicted.sources is None or payload.isdecimal()


async def test_first_connect_fails_at_once_with_one_line(start: Start) -> None:
    """An operator is there to read it; the password is not in it."""
    with pytest.raises(StartError, match="ROSETTA_LISTENER_DSN: cannot listen") as caught:
        await start(listener_dsn=SecretStr("postgresql://someone:hidden-word@127.0.0.1:1/nothing"))
    assert "hidden-word" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


async def test_listener_of_another_database_is_refused_at_the_start(start: Start, config_dsn: str) -> None:
    """Its LISTEN would succeed, but no notification would arrive: only a canary from another session shows that."""
    with pytest.raises(StartError, match=r"ROSETTA_LISTENER_DSN: .*another database"):
        await start(listener_dsn=SecretStr(with_database(config_dsn, "postgres")))
