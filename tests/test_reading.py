"""Reading a page: the caches, their guards, and what a reader is told."""

import asyncio
import hashlib
import json
from typing import Any

import pytest
import redis as sync_redis

from service.observation import Evicted, Filled
from tests.fix_databases import Sql
from tests.fix_gates import Gate
from tests.fix_metadata import add_pipeline, add_source, add_table, count_computations
from tests.fix_runtime import Service, Start

SOURCE_KEYS = [
    "created_at", "updated_at", "name", "pg_host", "pg_port", "pg_database", "pg_username", "publication_name",
    "replication_name", "id", "is_publication_enabled", "is_replication_enabled",
    "last_check_replication_publication", "total_tables",
]  # fmt: skip
MONITOR_KEYS = [
    "wal_lsn", "wal_position", "last_wal_received", "last_transaction_time", "replication_slot_name",
    "replication_lag_bytes", "total_wal_size", "wal_size_bytes", "wal_threshold_status", "status", "error_message",
    "id", "source_id", "source", "created_at", "updated_at",
]  # fmt: skip
COLUMN_KEYS = [
    "column_name", "is_nullable", "real_data_type", "numeric_precision", "numeric_scale", "is_primary_key",
    "has_default", "default_value",
]  # fmt: skip


async def test_page_has_the_contracts_shape(service: Service, config: Sql) -> None:
    """Every key, in the contract's order."""
    source = add_source(config)
    add_table(config, source, "orders")
    config.execute("INSERT INTO wal_monitor (source_id, total_wal_size) VALUES (%s, '16 MB')", (source,))
    add_pipeline(config, source, "warehouse", "lake")
    add_pipeline(config, source, "warehouse")
    page = (await service.details(source)).json()
    assert list(page) == ["source", "wal_monitor", "tables", "destinations", "meta"]
    assert list(page["source"]) == SOURCE_KEYS
    assert list(page["wal_monitor"]) == MONITOR_KEYS
    assert page["wal_monitor"]["source"] == page["source"]
    assert page["wal_monitor"]["wal_size_bytes"] == 16 * 1024 * 1024
    assert page["wal_monitor"]["wal_threshold_status"] == "OK"
    assert list(page["tables"][0]) == ["id", "table_name", "version", "schema_table"]
    assert list(page["tables"][0]["schema_table"][0]) == COLUMN_KEYS
    assert page["tables"][0]["version"] == 1
    assert page["destinations"] == ["lake", "warehouse"]
    assert page["source"]["created_at"].endswith("+00:00")


async def test_first_read_misses_then_hits_with_the_same_bytes(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """Redis holds the very body, with a TTL; the process cache follows; If-None-Match costs a 304."""
    source = add_source(config)
    await service.settled(config)
    miss = await service.details(source)
    assert "fwd=miss" in miss.headers["cache-status"]
    assert "stored" in miss.headers["cache-status"]
    assert redis.get(f"source_details:{source}") == miss.text
    ttl = redis.ttl(f"source_details:{source}")
    assert isinstance(ttl, int)
    assert 0 < ttl <= 30
    hits = [await service.details(source) for _ in range(3)]
    for hit in hits:
        assert hit.content == miss.content
        assert hit.headers["etag"] == miss.headers["etag"]
        assert hit.headers["cache-status"].startswith("rosetta; hit; ttl=")
    unchanged = await service.client.get(
        f"/api/v1/sources/{source}/details", headers={"If-None-Match": f'W/"other", {miss.headers["etag"]}'}
    )
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_deletion_by_hand_takes_effect_in_every_process(
    start: Start, config: Sql, redis: sync_redis.Redis
) -> None:
    """`redis-cli DEL` reaches the process caches: they hear of it through Redis."""
    source = add_source(config)
    processes: list[Service] = [await start(), await start()]
    for process in processes:
        await process.settled(config)
    for process in processes:
        for _ in range(3):
            await process.details(source)
    heard = [asyncio.Event(), asyncio.Event()]
    for process, event in zip(processes, heard, strict=True):
        session = process.runtime.details.session
        original = session._on_invalid

        def hear(source_id: int | None, original: Any = original, event: asyncio.Event = event) -> None:
            original(source_id)
            event.set()

        session._on_invalid = hear
    redis.delete(f"source_details:{source}")
    for event in heard:
        await asyncio.wait_for(event.wait(), 5)
    for process in processes:
        assert process.runtime.details.memory.get(source) is None
    assert "fwd=miss" in (await processes[0].details(source)).headers["cache-status"]


async def test_fill_never_undoes_an_eviction(
    start: Start, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that read before a change, and stores after the eviction, is refused in Redis and in its process."""
    source = add_source(config)
    slow, other = await start(), await start()
    await slow.settled(config)
    await other.settled(config)
    storing = Gate(monkeypatch, slow.runtime.cache, "store")
    reading = asyncio.create_task(slow.details(source))
    await storing.until_reached()

    config.execute("UPDATE sources SET name = 'renamed' WHERE id = %s", (source,))
    for process in (slow, other):
        await process.events.until(Evicted, lambda event: event.sources == (source,))
    storing.open()
    old = await reading
    assert old.json()["source"]["name"] != "renamed"
    assert "stored" not in old.headers["cache-status"]
    assert redis.get(f"source_details:{source}") is None
    assert slow.runtime.details.memory.get(source) is None
    for process in (slow, other):
        assert (await process.details(source)).json()["source"]["name"] == "renamed"


async def test_reader_after_an_eviction_does_not_join_an_older_fill(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes after the notification does not get what a fill from before it will answer."""
    source = add_source(config)
    await service.settled(config)
    storing = Gate(monkeypatch, service.runtime.cache, "store")
    early = asyncio.create_task(service.details(source))
    await storing.until_reached()
    config.execute("UPDATE sources SET name = 'renamed' WHERE id = %s", (source,))
    await service.events.until(Evicted, lambda event: event.sources == (source,))
    late = asyncio.create_task(service.details(source))
    storing.open()
    assert (await late).json()["source"]["name"] == "renamed"
    await early


async def test_reader_after_the_notification_waits_for_the_eviction(
    service: Service, config: Sql, redis: sync_redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the eviction is on its way to Redis the old page still stands there: nobody here is given it."""
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    evicting = Gate(monkeypatch, service.runtime.cache, "_delete")
    config.execute("UPDATE sources SET name = 'renamed'")
    await evicting.until_reached()
    reading = asyncio.create_task(service.details(source))
    for _ in range(50):
        # Redis answers within these turns; the reader would have its page.
        await service.runtime.cache.client.ping()
    assert redis.exists(f"source_details:{source}")
    evicting.open()
    assert (await reading).json()["source"]["name"] == "renamed"


async def test_two_hundred_readers_cost_one_computation(start: Start, config: Sql) -> None:
    """In two processes, counted in the database."""
    source = add_source(config)
    add_table(config, source)
    count = count_computations(config)
    processes: list[Service] = [await start(), await start()]
    for process in processes:
        await process.settled(config)
    pages = await asyncio.gather(*(processes[n % 2].details(source) for n in range(200)))
    assert count() == 1
    assert len({page.content for page in pages}) == 1
    assert any("collapsed" in page.headers["cache-status"] for page in pages)


async def test_unknown_source_leaves_no_lease_behind(service: Service, redis: sync_redis.Redis) -> None:
    """Nobody waits for the fill of a page that cannot be."""
    for _ in range(2):
        response = await service.client.get("/api/v1/sources/999/details")
        assert response.status_code == 404
        assert response.json() == {
            "error": "EntityNotFoundError",
            "message": "Source with id '999' not found",
            "details": {"entity_type": "Source", "entity_id": "999"},
        }
    assert redis.keys("*source_details:999*") == []


async def test_no_cache_reads_past_the_caches_and_mends_them(
    service: Service, config: Sql, redis: sync_redis.Redis
) -> None:
    """A wrong value under our key goes when a client insists."""
    source = add_source(config)
    await service.settled(config)
    redis.set(f"source_details:{source}", "rubbish", ex=30)
    assert (await service.details(source)).text == "rubbish"
    fresh = await service.details(source, headers={"Cache-Control": "no-cache"})
    assert fresh.json()["source"]["id"] == source
    assert "fwd=bypass" in fresh.headers["cache-status"]
    assert (await service.details(source)).json()["source"]["id"] == source


async def test_life_counts_from_the_reading(start: Start, config: Sql, redis: sync_redis.Redis) -> None:
    """A page that took long to compute lives shorter by as much: none gets older than its TTL."""
    source = add_source(config)
    service: Service = await start(cache_ttl_s=5)
    await service.settled(config)
    compute = service.runtime.details._compute

    async def slow(*arguments: Any, **options: Any) -> Any:
        computed = await compute(*arguments, **options)
        await asyncio.to_thread(config.execute, "SELECT pg_sleep(1.2)")
        return computed

    service.runtime.details._compute = slow  # type: ignore[method-assign]
    await service.details(source)
    left = redis.pttl(f"source_details:{source}")
    assert isinstance(left, int)
    assert 0 < left <= 3800


async def test_etag_is_the_bytes_own(service: Service, config: Sql) -> None:
    """Two processes give the same bytes the same validator."""
    source = add_source(config)
    page = await service.details(source)
    digest = hashlib.blake2b(page.content, digest_size=16).hexdigest()
    assert page.headers["etag"] == f'"{digest}"'


@pytest.mark.parametrize(
    "rubbish",
    ["null", "{}", "[]", '"text"', "17", "true", '["a", 1, null]', '{"a": 1, "b": [], "c": null}', '[{"x": 1}]'],
)
async def test_odd_schemas_count_as_no_columns(service: Service, config: Sql, rubbish: str) -> None:
    """JSON scalars, lists of anything, objects of anything."""
    source = add_source(config)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name, schema_table) VALUES (%s, NULL, %s), (%s, 'b', NULL)",
        (source, rubbish, source),
    )
    page = (await service.details(source)).json()
    assert [(table["table_name"], table["schema_table"]) for table in page["tables"]] == [("Unknown", []), ("b", [])]


async def test_schema_may_be_a_list_and_keeps_its_order(service: Service, config: Sql) -> None:
    """A list's own order; an object's by column_order, and by name where that is not known."""
    source = add_source(config)
    columns = [{"column_name": name, "is_nullable": "NO", "real_data_type": "text"} for name in ("z", "a", "m")]
    by_name = {column["column_name"]: column for column in columns}
    config.execute(
        """
        INSERT INTO table_metadata_list (source_id, table_name, schema_table, column_order)
        VALUES
            (%(id)s, 'list', %(list)s, NULL),
            (%(id)s, 'object', %(object)s, NULL),
            (%(id)s, 'ordered', %(object)s, '{m,z,a}')
        """,
        {"id": source, "list": json.dumps(columns), "object": json.dumps(by_name)},
    )
    tables = (await service.details(source)).json()["tables"]
    order = {table["table_name"]: [column["column_name"] for column in table["schema_table"]] for table in tables}
    assert order == {"list": ["z", "a", "m"], "object": ["a", "m", "z"], "ordered": ["m", "z", "a"]}
    assert tables[0]["schema_table"][0]["real_data_type"] == "TEXT"


async def test_sources_without_tables_and_with_ten_thousand(service: Service, config: Sql) -> None:
    """Both are pages, and neither is a special case."""
    empty, full = add_source(config), add_source(config)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name) SELECT %s, 't' || generate_series(1, 10000)",
        (full,),
    )
    assert (await service.details(empty)).json()["tables"] == []
    assert len((await service.details(full)).json()["tables"]) == 10_000
    await service.events.until(Filled, lambda event: event.source_id == full)


async def test_monitor_without_a_status_is_shown(service: Service, config: Sql) -> None:
    """A NULL status is the platform's default; a size that is none has no class."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id, status, total_wal_size) VALUES (%s, NULL, 'a lot')", (source,))
    monitor = (await service.details(source)).json()["wal_monitor"]
    assert (monitor["status"], monitor["wal_size_bytes"], monitor["wal_threshold_status"]) == ("ACTIVE", None, None)


async def test_dates_without_a_form_are_null_or_replaced(service: Service, config: Sql) -> None:
    """Infinity, years before Christ and past 9999: never something that a page cannot parse."""
    source = add_source(config)
    config.execute(
        "UPDATE sources SET created_at = '-infinity', updated_at = '0044-03-15 BC', "
        "last_check_replication_publication = '12000-01-01'"
    )
    config.execute(
        "INSERT INTO wal_monitor (source_id, created_at, updated_at, last_wal_received) "
        "VALUES (%s, 'infinity', '2026-02-03 04:05:06+02', 'infinity')",
        (source,),
    )
    page = (await service.details(source)).json()
    assert page["source"]["created_at"] == page["source"]["updated_at"] == "1970-01-01T00:00:00.000000+00:00"
    assert page["source"]["last_check_replication_publication"] is None
    assert page["wal_monitor"]["created_at"] == "2026-02-03T02:05:06.000000+00:00"
    assert page["wal_monitor"]["last_wal_received"] is None


async def test_dates_that_the_platform_keeps_without_a_zone_are_utc(start: Start, config: Sql) -> None:
    """Wherever the server is."""
    name = config.info.dbname
    config.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    config.execute("ALTER TABLE wal_monitor ALTER COLUMN last_wal_received TYPE timestamp")
    source = add_source(config)
    config.execute(
        "INSERT INTO wal_monitor (source_id, last_wal_received) VALUES (%s, '2026-02-03 04:05:06')", (source,)
    )
    service: Service = await start()
    page = (await service.details(source)).json()
    assert page["wal_monitor"]["last_wal_received"] == "2026-02-03T04:05:06.000000+00:00"
