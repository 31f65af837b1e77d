"""Live streams: the events that an open page receives, how it catches up, and the limits."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from service.errors import TooManyStreamsError
from service.telemetry.events import CanaryReceived, Evicted
from service.web import live, rooms
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table, count_computations
from tests.fixtures.runtime import Service, Start
from tests.fixtures.runtime import until as until_true
from tests.fixtures.web import Site, shows, until


async def test_commit_reaches_an_open_stream_with_what_changed_alone(site: Site, config: Sql) -> None:
    """The row of the table, in HTML; otherwise only the time of the read."""
    source = add_source(config)
    first, _ = add_table(config, source, "first"), add_table(config, source, "second")
    await site.service.settled(config)
    async with site.events(source) as stream:
        hello = await until(stream, lambda event: event.kind == "hello")
        config.execute(
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, 7)", (first,)
        )
        changed = await until(stream, lambda event: f"table-{first}" in event.data.get("parts", {}))
        assert set(changed.data["changed"]) == {f"table-{first}", "part-freshness"}
        assert '<td class="figure">7</td>' in changed.data["parts"][f"table-{first}"]
        assert changed.number == changed.data["version"] != hello.data["version"]


async def test_new_and_renamed_rows_are_read_as_a_whole(site: Site, config: Sql) -> None:
    """Single events cannot place rows that were added or moved."""
    source = add_source(config)
    table = add_table(config, source, "middle")
    await site.service.settled(config)
    async with site.events(source) as stream:
        await until(stream, lambda event: event.kind == "hello")
        add_table(config, source, "another")
        whole = await until(stream, lambda event: event.kind == "whole")
        # A client cut off before it has read everything has still missed the change.
        assert whole.number is None
        config.execute("UPDATE table_metadata_list SET table_name = 'aardvark' WHERE id = %s", (table,))
        renamed = await until(stream, lambda event: event.kind == "whole" or "aardvark" in str(event.data))
        assert renamed.kind == "whole"


async def test_client_that_comes_back_gets_what_it_missed(site: Site, config: Sql) -> None:
    """By the id of its last event; everything if that is too old, or from another process."""
    source = add_source(config)
    await site.service.settled(config)
    async with site.events(source) as other:
        version = (await until(other, lambda event: event.kind == "hello")).data["version"]
        for number in range(2):
            config.execute("UPDATE sources SET pg_username = %s WHERE id = %s", (f"user {number}", source))
            await until(other, shows(f"user {number}"))
        async with site.events(source, last=version) as stream:
            missed = await until(stream, lambda event: event.kind == "changed")
            assert "user 1" in missed.data["parts"]["part-connection"]
            assert missed.number == missed.data["version"]
        async with site.events(source, since=missed.number) as stream:
            nothing = [await anext(stream), await anext(stream)]
            assert [event.kind for event in nothing] == ["hello", "changed"]
            assert nothing[1].data["changed"] == ["part-freshness"]
        async with site.events(source, since="of-nobody") as stream:
            assert (await until(stream, lambda event: event.kind not in ("hello", "beat"))).kind == "whole"


async def test_change_between_the_page_and_its_stream_is_told(site: Site, config: Sql) -> None:
    """The page names the version that it shows, and its stream begins there."""
    source = add_source(config)
    await site.service.settled(config)
    portrait, _ = await site.service.app.live.portrait(source)
    config.execute("UPDATE sources SET pg_username = 'changed' WHERE id = %s", (source,))
    await site.service.settled(config)
    async with site.events(source, since=portrait.version) as stream:
        assert (await until(stream, lambda event: event.kind not in ("hello", "beat"))).kind == "whole"


async def test_change_while_a_stream_opens_is_told(site: Site, config: Sql) -> None:
    """The eviction comes after the portrait was drawn and before its room exists."""
    source = add_source(config)
    await site.service.settled(config)
    runtime = site.service.runtime
    opened: AsyncIterator[bytes] = await site.service.app.live.open(source, None, with_parts=True)
    config.execute("UPDATE sources SET pg_username = 'changed' WHERE id = %s", (source,))
    await site.service.settled(config)
    # Another request reads the page in the meantime: it will not expire for 30 s and make up for the missed change.
    while runtime.pages.memory.get(source) is None:
        await site.service.details(source)
    async with asyncio.timeout(20):
        async for event in opened:
            if b"changed@" in event:
                break
    await opened.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_hundreds_of_open_pages_cost_one_computation_a_change(start: Start, config: Sql) -> None:
    """The same number of queries as for one page."""
    service: Service = await start(cache_ttl_s=3600)
    source = add_source(config)
    await service.settled(config)
    streams = [await service.app.live.open(source, None, with_parts=True) for _ in range(300)]
    for stream in streams:
        await anext(stream)
    await service.events.until(Evicted)
    await service.settled(config)
    count = count_computations(config)
    async with asyncio.timeout(60):
        config.execute("UPDATE sources SET pg_username = 'changed' WHERE id = %s", (source,))
        for stream in streams:
            async for event in stream:
                if b"changed@" in event:
                    break
    assert count() == 1
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert service.app.live.streams == 0
    assert service.app.live.rooms == {}


async def test_client_that_does_not_read_is_told_to_read_everything(
    site: Site, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue stays bounded."""
    monkeypatch.setattr(live, "_SPACING_S", 0)
    source = add_source(config)
    await site.service.settled(config)
    slow = await site.service.app.live.open(source, None, with_parts=True)
    await anext(slow)
    async with site.events(source) as stream:
        for number in range(rooms.MOST_WAITING + 2):
            config.execute("UPDATE sources SET pg_username = %s WHERE id = %s", (f"user {number}", source))
            await until(stream, shows(f"user {number}"))
    waiting = [await anext(slow)]
    watcher = next(iter(site.service.app.live.rooms[source].watchers))
    assert watcher.waiting < rooms.MOST_WAITING
    while watcher.waiting:
        waiting.append(await anext(slow))
    assert waiting[0].startswith(b"event: whole")
    await slow.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_streams_that_are_asked_for_at_once_are_bounded_too(start: Start, config: Sql) -> None:
    """Each counts from its admission on, also one that its client leaves before it begins."""
    service: Service = await start(most_streams=5)
    live, source = service.app.live, add_source(config)
    await service.settled(config)
    opened = await asyncio.gather(
        *(live.open(source, None, with_parts=True) for _ in range(60)), return_exceptions=True
    )
    assert sum(isinstance(outcome, TooManyStreamsError) for outcome in opened) == 55
    assert live.streams == 5
    opened.clear()
    # The step that gather() woke holds its outcomes until it ends.
    await asyncio.sleep(0)
    gc.collect()
    assert live.streams == 0


async def test_silence_is_filled_with_beats(site: Site, config: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that proxies do not close the connection as dead."""
    monkeypatch.setattr(rooms, "HEARTBEAT_S", 0.01)
    source = add_source(config)
    stream = await site.service.app.live.open(source, None, with_parts=False)
    heard = [await anext(stream) for _ in range(3)]
    assert b"event: beat\ndata: {}\n\n" in heard
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_streams_are_bounded_and_end(
    start: Start, serve_site: Callable[[Service], Awaitable[Site]], config: Sql
) -> None:
    """503 beyond the limit, 404 for an unknown source; streams end if the source is deleted or the service stops."""
    site = await serve_site(await start(most_streams=2))
    source, doomed = add_source(config), add_source(config)
    await site.service.settled(config)
    async with httpx.AsyncClient(base_url=site.url) as client:
        assert (await client.get("/api/v1/sources/999/events")).status_code == 404
        assert (await client.get("/api/v1/sources/abc/events")).status_code == 422
        async with site.events(source) as stream, site.events(doomed) as ending:
            await until(stream, lambda event: event.kind == "hello")
            await until(ending, lambda event: event.kind == "hello")
            refused = await client.get(f"/api/v1/sources/{source}/events")
            assert refused.status_code == 503
            assert refused.json()["error"] == "TooManyStreamsError"
            assert refused.headers["retry-after"] == "5"
            config.execute("DELETE FROM sources WHERE id = %s", (doomed,))
            gone = await until(ending, lambda event: event.kind == "gone")
            assert "not found" in gone.data["message"]
            assert [event async for event in ending] == []
            site.server.should_exit = True
            last = await until(stream, lambda event: event.kind == "gone")
            assert last.data["message"] == "the service stops"
            assert [event async for event in stream] == []


async def test_stream_says_when_the_config_database_is_away_and_heals(site: Site, config: Sql) -> None:
    """`trouble` comes once, and the next event ends it."""
    source = add_source(config)
    await site.service.settled(config)
    async with site.events(source) as stream:
        await until(stream, lambda event: event.kind == "hello")
        config.execute("ALTER VIEW source_details_sources RENAME TO away")
        await site.service.runtime.pages.evict([source], "notification")
        trouble = await until(stream, lambda event: event.kind == "trouble")
        assert "config database cannot be reached" in trouble.data["message"]
        config.execute("ALTER VIEW away RENAME TO source_details_sources")
        healed = await until(stream, lambda event: event.kind not in ("trouble", "beat"))
        assert "part-freshness" in healed.data["changed"]


async def test_pipelines_and_monitor_are_told_too(site: Site, config: Sql) -> None:
    """Everything on the page: a pipeline's destination, the state of the monitor."""
    source = add_source(config)
    await site.service.settled(config)
    async with site.events(source) as stream:
        add_pipeline(config, source, "warehouse")
        await until(stream, shows("warehouse ("))
        config.execute("INSERT INTO wal_monitor (source_id, status) VALUES (%s, 'ERROR')", (source,))
        await until(stream, shows("Replication fails"))
    await until_true(lambda: site.service.app.live.streams == 0)


async def test_readers_come_back_at_different_times(site: Site, config: Sql) -> None:
    """After a restart, all their browsers would otherwise connect in the same second."""
    source = add_source(config)
    pauses = set()
    for _ in range(10):
        stream = await site.service.app.live.open(source, None, with_parts=False)
        first = await anext(stream)
        pauses.add(int(first.partition(b"retry: ")[2].partition(b"\n")[0]))
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert all(1000 <= pause < 5000 for pause in pauses)
    assert len(pauses) > 5


async def test_list_hears_of_every_change_and_of_no_canary(site: Site, config: Sql) -> None:
    """A source that comes, breaks and goes; a stream without changes is filled with beats."""
    async with site.list_events() as stream:
        assert (await anext(stream)).kind == "hello"
        canary = await site.service.events.until(CanaryReceived)
        assert canary.received_ms >= 0
        source = add_source(config)
        await until(stream, lambda event: event.kind == "changed")
        config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'slot is lost')", (source,))
        await until(stream, lambda event: event.kind == "changed")
        config.execute("DELETE FROM sources")
        changed = await until(stream, lambda event: event.kind == "changed")
        assert (changed.number, changed.data) == (None, {})
        assert site.service.app.live.streams == 1
    await until_true(lambda: site.service.app.live.streams == 0)


async def test_canaries_do_not_make_lists_read_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One comes every few seconds to every process."""
    monkeypatch.setattr(rooms, "HEARTBEAT_S", 0.5)
    async with site.list_events() as stream:
        assert (await anext(stream)).kind == "hello"
        seen = len(site.service.events.of(CanaryReceived))
        while len(site.service.events.of(CanaryReceived)) < seen + 2:
            assert (await anext(stream)).kind == "beat"


async def test_streams_of_the_list_are_bounded_and_end(
    start: Start, serve_site: Callable[[Service], Awaitable[Site]], config: Sql
) -> None:
    """They share the limit with those of sources; the service says goodbye."""
    site = await serve_site(await start(most_streams=2))
    source = add_source(config)
    await site.service.settled(config)
    async with httpx.AsyncClient(base_url=site.url) as client, site.list_events() as stream:
        assert (await anext(stream)).kind == "hello"
        async with site.events(source) as other:
            await until(other, lambda event: event.kind == "hello")
            refused = await client.get("/api/v1/events")
            assert (refused.status_code, refused.json()["error"]) == (503, "TooManyStreamsError")
            head = await client.head("/api/v1/events")
            assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        site.server.should_exit = True
        last = await until(stream, lambda event: event.kind == "gone")
        assert last.data["message"] == "the service stops"
        assert [event async for event in stream] == []
