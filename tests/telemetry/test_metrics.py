"""What the service counts, and the sampler, which finds a page that is not what the database says."""

import asyncio
import json
import re
import shutil

import redis as sync_redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.events import Evicted, Sampled, TaskFailed
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service, Start, until


async def scraped(service: Service) -> dict[str, float]:
    """Every sample by its name and labels."""
    text = (await service.client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(rosetta_[^ ]+) (\S+)$", text, re.MULTILINE)}


async def test_reads_fills_and_evictions_are_counted(service: Service, config: Sql) -> None:
    """And gauges say how things are."""
    source = add_source(config)
    add_table(config, source)
    await service.settled(config)
    before = await scraped(service)
    for _ in range(4):
        await service.details(source)
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    await service.sync(source)
    assert await service.runtime.refresher.wait_until_covered(20)
    after = await scraped(service)
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    assert grown['rosetta_pages_total{source="computed"}'] == 1
    assert sum(grown.get(f'rosetta_pages_total{{source="{cache}"}}', 0) for cache in ("memory", "redis")) == 3
    # Those of this process too, and the first look at the metrics.
    assert grown['rosetta_responses_total{status="200"}'] == 4 + 1 + 1
    assert grown['rosetta_fills_total{outcome="stored"}'] == 2
    assert after["rosetta_commit_to_eviction_seconds_count"] >= 1
    assert sum(value for name, value in after.items() if name.startswith("rosetta_view_refreshes_total")) >= 1
    assert grown['rosetta_evictions_total{cause="notification"}'] >= 1
    assert grown["rosetta_eviction_seconds_count"] >= 1
    assert grown['rosetta_syncs_total{outcome="failed"}'] == 1
    assert after["rosetta_redis_up"] == after["rosetta_listener_up"] == after["rosetta_config_database_up"] == 1
    assert after["rosetta_sources_failing"] == 1
    assert before["rosetta_kept_fragments_bytes"] == 0 < after["rosetta_kept_fragments_bytes"]


async def test_metrics_are_what_prometheus_reads(service: Service, config: Sql) -> None:
    """Both formats pass the parsers of their specifications, and promtool if it is there; one type, one charset."""
    await service.details(add_source(config))
    plain = await service.client.get("/metrics")
    assert plain.headers.get_list("content-type") == ["text/plain; version=0.0.4; charset=utf-8"]
    families = {family.name for family in text_string_to_metric_families(plain.text)}
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    modern = await service.client.get("/metrics", headers={"Accept": accept})
    assert modern.headers.get_list("content-type") == ["application/openmetrics-text; version=1.0.0; charset=utf-8"]
    assert modern.text.endswith("# EOF\n")
    modern_families = openmetrics_families(modern.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in modern_families} <= families
    if promtool := shutil.which("promtool"):
        check = await asyncio.create_subprocess_exec(promtool, "check", "metrics", stdin=asyncio.subprocess.PIPE)
        await check.communicate(plain.content)
        assert check.returncode == 0


async def test_sampler_agrees_while_all_is_well(start: Start, config: Sql) -> None:
    """Ticks that ride on the TTL are no difference."""
    service: Service = await start(sample_share=1.0)
    source = add_source(config)
    add_table(config, source)
    config.execute("INSERT INTO wal_monitor (source_id, total_wal_size) VALUES (%s, '16 MB')", (source,))
    await service.settled(config)
    await service.details(source)
    config.execute("UPDATE wal_monitor SET wal_lsn = '0/FF', replication_lag_bytes = 7, updated_at = now()")
    await service.details(source)
    sampled = await service.events.until(Sampled)
    assert sampled.age_s is None


async def test_sampler_finds_and_heals_a_page_that_is_not_true(
    start: Start, config: Sql, redis: sync_redis.Redis
) -> None:
    """However it got there; here somebody has disabled the triggers."""
    service: Service = await start(sample_share=1.0)
    source = add_source(config)
    await service.settled(config)
    config.execute("ALTER TABLE sources DISABLE TRIGGER ALL")
    await service.settled(config)
    await service.details(source)
    config.execute("UPDATE sources SET name = 'unheard'")
    seen = len(service.events.events)
    assert (await service.details(source)).json()["source"]["name"] != "unheard"
    different = await service.events.until(Sampled, lambda event: event.age_s is not None, seen)
    assert different.level == "error"
    await service.events.until(Evicted, lambda event: event.cause == "sample", seen)
    assert (await service.details(source)).json()["source"]["name"] == "unheard"
    counts = await scraped(service)
    assert counts['rosetta_samples_total{outcome="different"}'] == 1

    # It rests after a comparison, in proportion to its cost.
    await until(lambda: not service.runtime.sampler.is_resting)
    service.plant(redis, source, json.dumps(["not", "a", "page"]))
    await until(lambda: service.runtime.pages.memory.get(source) is None)
    seen = len(service.events.events)
    await service.client.get(f"/api/v1/sources/{source}/details")
    await service.events.until(Sampled, lambda event: event.age_s is not None, seen)


async def test_sampler_forgives_a_change_that_is_on_its_way(start: Start, config: Sql) -> None:
    """The notification comes, and the page goes: nothing was wrong."""
    service: Service = await start(sample_share=1.0)
    source = add_source(config)
    await service.settled(config)
    await service.details(source)
    answer = await service.runtime.pages.read(source)
    config.execute("UPDATE sources SET name = 'renamed'")
    service.runtime.sampler.offer(source, answer.page)
    sampled = await service.events.until(Sampled)
    assert sampled.age_s is None


async def test_sample_of_a_source_that_is_gone_is_no_failure(start: Start, config: Sql) -> None:
    """It was deleted between the two looks."""
    service: Service = await start(sample_share=1.0)
    source = add_source(config)
    await service.settled(config)
    answer = await service.runtime.pages.read(source)
    config.execute("DELETE FROM sources")
    service.runtime.sampler.offer(source, answer.page)
    await until(lambda: not service.runtime.sampler.is_busy)
    assert service.events.of(TaskFailed) == []
