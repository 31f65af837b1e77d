"""Refreshes of the view, as readers and the service see them."""

from service.telemetry.events import Evicted, ViewRefreshed
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Start

REFRESH = "REFRESH MATERIALIZED VIEW public.source_details_tables"


async def test_pages_are_answered_while_the_view_is_locked_or_empty(start: Start, config: Sql, config_dsn: str) -> None:
    """A plain REFRESH locks readers out of the view, one WITH NO DATA empties it: pages are read live."""
    source = add_source(config)
    add_table(config, source)
    service = await start()
    await service.settled(config)
    with connect(config_dsn) as operator, operator.transaction():
        operator.execute(REFRESH)
        page = (await service.details(source)).json()
        assert [table["table_name"] for table in page["tables"]] == ["orders"]
        assert page["meta"]["read_from"] == "live"
    config.execute(f"{REFRESH} WITH NO DATA")
    await service.settled(config)
    page = (await service.details(source)).json()
    assert [table["table_name"] for table in page["tables"]] == ["orders"]


async def test_our_own_refresh_evicts_nothing_and_an_operators_everything(start: Start, config: Sql) -> None:
    """The service's own refresh changes no page; an operator's may follow writes that fired no trigger."""
    source = add_source(config)
    add_table(config, source)
    service = await start()
    await service.events.until(ViewRefreshed)
    await service.settled(config)
    await service.details(source)
    seen = len(service.events.events)
    config.execute("SELECT source_details_refresh(false)")
    await service.settled(config)
    assert not any(event.sources is None for event in service.events.of(Evicted)[-1:])
    config.execute("SELECT source_details_refresh()")
    await service.events.until(Evicted, lambda event: event.sources is None, seen)
    seen = len(service.events.events)
    config.execute(REFRESH)
    await service.events.until(Evicted, lambda event: event.sources is None, seen)


async def test_operators_refresh_is_found_without_the_event_trigger(start: Start, config: Sql) -> None:
    """Polling finds it: it evicts too, a little later, and one process notifies all others."""
    source = add_source(config)
    add_table(config, source)
    config.execute("DROP EVENT TRIGGER source_details_refreshed")
    service = await start(poll_interval_s=0.1)
    await service.events.until(ViewRefreshed)
    await service.settled(config)
    seen = len(service.events.events)
    config.execute(REFRESH)
    await service.events.until(Evicted, lambda event: event.sources is None, seen)
    health = (await service.client.get("/health/ready")).json()
    assert health["status"] == "degraded"
    assert any("event trigger" in why for why in health["degraded"])
