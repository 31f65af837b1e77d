"""What an open page reads after a change: its page and, beside it, another statement. Neither stays old."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fixtures.databases import Sql, database_away
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_pipeline, add_source
from tests.fixtures.runtime import Service, Start
from tests.fixtures.runtime import until as until_true
from tests.fixtures.web import Site, shows, until


@asynccontextmanager
async def told_after(
    site: Site, source: int, config: Sql, monkeypatch: pytest.MonkeyPatch, text: str
) -> AsyncIterator[None]:
    """In the block the open page has run its other statement, and has not read its page yet. Then it shows the text."""
    async with site.events(source) as stream:
        await until(stream, lambda event: event.kind == "hello")
        page = Gate(monkeypatch, site.service.runtime.pages, "read")
        beside = Gate(monkeypatch, site.service.app.live, "_extras", after=True)
        config.execute("UPDATE sources SET pg_username = 'first' WHERE id = %s", (source,))
        await page.until_reached()
        await beside.until_reached()
        yield
        beside.open()
        page.open()
        # Not only when the page's life ends.
        async with asyncio.timeout(15):
            await until(stream, shows(text))


async def test_change_between_the_two_statements_of_an_open_page_is_told(
    site: Site, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run beside each other: the page has the change, what is shown beside it does not, until it is heard of."""
    source = add_source(config)
    await site.service.settled(config)
    async with told_after(site, source, config, monkeypatch, "<strong>p0</strong>"):
        add_pipeline(config, source, "lake")
        await site.service.settled(config)


async def test_page_of_another_process_is_shown_with_nothing_older(
    site: Site, start: Start, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read after what this process has read beside it. Of a sync that evicts nothing here nobody is told."""
    source = add_source(config)
    await site.service.settled(config)
    async with told_after(site, source, config, monkeypatch, "No table is published"):
        await site.service.settled(config)
        config.execute(
            "INSERT INTO source_details_sync_state (source_id, incarnation, source_snapshot, synced_at) "
            "VALUES (%s, 'its', pg_current_snapshot(), now())",
            (source,),
        )
        other: Service = await start()
        assert "stored" in (await other.details(source)).headers["cache-status"]


async def test_open_page_asks_nothing_of_a_database_that_is_away(
    site: Site, config: Sql, config_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the last known page at once, and looks again each second: what waits for the database would pile up."""
    source = add_source(config)
    await site.service.settled(config)
    runtime = site.service.runtime
    beside, pages = Gate(monkeypatch, site.service.app.live, "_extras"), Gate(monkeypatch, runtime.pages, "read")
    for counting in (beside, pages):
        counting.open()
    async with site.events(source) as stream:
        await until(stream, lambda event: event.kind == "hello")
        with database_away(config, config_dsn):
            await runtime.pages.evict([source], "notification")
            await until_true(lambda: runtime.database.is_down)
            before, turn = beside.calls, pages.calls
            await until_true(lambda: pages.calls >= turn + 3)
            assert beside.calls == before
