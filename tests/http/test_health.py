"""Health for operators and schedulers: is the service alive, is it ready, what is degraded."""

import asyncio

import redis as sync_redis

from tests.fixtures.databases import Sql, connect, with_database
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until


async def test_ready_names_each_dependency(service: Service, config: Sql) -> None:
    """All is well: 200, nothing is degraded, the canary has arrived."""
    await until(lambda: service.runtime.listener.canary_ms is not None)
    await service.settled(config)
    response = await service.client.get("/health/ready")
    assert response.status_code == 200
    report = response.json()
    assert report["status"] == "ready"
    assert report["degraded"] == []
    assert report["config_database"]["status"] == report["redis"]["status"] == report["listener"]["status"] == "up"
    assert report["view"]["has_event_trigger"]
    assert report["listener"]["canary_ms"] > 0
    assert (await service.client.get("/health/live")).json() == {"status": "live"}
    for path in ("/health/live", "/health/ready"):
        asked = await service.client.head(path)
        assert (asked.status_code, asked.content) == (200, b"")


async def test_config_database_away_is_a_503_that_says_so(
    start: Start, config: Sql, config_dsn: str, redis: sync_redis.Redis
) -> None:
    """Cached pages are still served; anything else is a 503 with Retry-After; the process is still alive."""
    service: Service = await start(config_timeout_ms=500)
    cached, other = add_source(config), add_source(config)
    await service.settled(config)
    await service.details(cached)
    name = config.info.dbname
    with connect(with_database(config_dsn, "postgres")) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        ready = await service.client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["status"] == "unavailable"
        assert (await service.client.get("/health/live")).status_code == 200
        for path in (f"/api/v1/sources/{other}/details", "/api/v1/sources", f"/api/v1/sources/{other}"):
            response = await service.client.get(path)
            assert response.status_code == 503
            assert response.headers["retry-after"]
            assert response.json()["error"] == "ConfigDatabaseUnavailableError"
        assert redis.exists(f"source_details:{cached}")
        assert "hit" in (await service.details(cached)).headers["cache-status"]
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    async with asyncio.timeout(60):
        while (await service.client.get(f"/api/v1/sources/{other}/details")).status_code == 503:
            continue
    assert (await service.client.get("/health/ready")).status_code == 200


async def test_restore_without_the_row_of_turns_is_survived(start: Start, config: Sql) -> None:
    """`rosetta migrate --repair` makes it again; until then health answers as before."""
    config.execute("DELETE FROM source_details_wal_round")
    service: Service = await start(wal_interval_s=1)
    report = await service.client.get("/health/ready")
    assert report.status_code == 200
    assert report.json()["background"]["wal_round_late_s"] == 0


async def test_stop_insists_where_a_cancellation_gets_lost(service: Service) -> None:
    """asyncio.wait_for loses one on Python 3.11, if what it waits for comes at the same moment."""

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    service.runtime.tasks.start("stubborn", stubborn)
    await asyncio.sleep(0)
    await asyncio.wait_for(service.runtime.stop(), 20)
    assert service.runtime.tasks.running == 0
