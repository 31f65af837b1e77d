"""The config database at its limits: no connection left, the notification queue nearly full."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psycopg
import pytest
from pydantic import SecretStr

from service.config.settings import load
from service.database.migrations import migrate
from service.demo.servers import Postgres
from service.telemetry.events import DatabaseDown, DatabaseUp, SourceDown
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import KEY, add_source
from tests.fixtures.runtime import Service, Start
from tests.fixtures.servers import Servers

pytestmark = pytest.mark.faults


@pytest.fixture
def small(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A migrated server with few connections and the smallest possible notification queue."""
    name = tmp_path_factory.mktemp("small").name
    server = Postgres(servers.reaper, name, settings={"max_connections": "24", "max_notify_queue_pages": "64"})
    server.start()
    migrate(server.dsn(), say=lambda _: None)
    yield server
    server.stop("immediate")


def take_all(server: Postgres, stack: ExitStack) -> int:
    """Connects until the server refuses; returns the number of connections."""
    taken = 0
    while True:
        try:
            stack.enter_context(psycopg.connect(server.dsn(), autocommit=True))
        except psycopg.OperationalError:
            return taken
        taken += 1


async def test_no_connection_left(start: Start, small: Postgres, bound: Bound) -> None:
    """The pool's connections serve everybody; without them the last known pages are served. It recovers by itself."""
    with connect(small.dsn()) as config:
        service: Service = await start(config_dsn=SecretStr(small.dsn()), pool_max_size=20, config_timeout_ms=2000)
        sources = [add_source(config) for _ in range(30)]
        await service.settled(config)
        with ExitStack() as stack:
            assert take_all(small, stack) > 5
            pages = await asyncio.gather(*(service.details(source) for source in sources[:29]))
            assert all(page.json()["source"] for page in pages)
            # The pool connects again at once: again, until other clients have taken all of its places.
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
            while config.execute(end, ("rosetta-source-details",)).fetchall():
                take_all(small, stack)
            with bound("config database has no connection left, timeout 2,000 ms: the 503", 2 + 1):
                response = await service.client.get(f"/api/v1/sources/{sources[29]}/details")
            assert response.status_code == 503
            assert "too many clients" in response.json()["message"]
            await service.events.until(DatabaseDown)
            assert (await service.details(sources[0])).json()["source"]["id"] == sources[0]
        seen = len(service.events.events)
        async with asyncio.timeout(60):
            while (await service.client.get(f"/api/v1/sources/{sources[29]}/details")).status_code == 503:
                continue
        await service.events.until(DatabaseUp, after=seen)


async def test_notification_queue_that_fills_up_is_reported_before_writers_fail(start: Start, small: Postgres) -> None:
    """A listening session stays in a transaction, which the service's own never does. All is well once it has ended."""
    with connect(small.dsn()) as config, connect(small.dsn()) as sleeper:
        service: Service = await start(config_dsn=SecretStr(small.dsn()))
        source = add_source(config)
        await service.settled(config)
        sleeper.execute("LISTEN source_details_changed")
        sleeper.execute("BEGIN")
        sleeper.execute("SELECT 1")
        degraded: list[str] = []
        while not any("notification queue" in why for why in degraded):
            fill(config)
            degraded = (await service.client.get("/health/ready")).json()["degraded"]
        # Changes still arrive, however full the queue is.
        config.execute("UPDATE sources SET name = 'renamed'")
        await service.settled(config)
        assert (await service.details(source)).json()["source"]["name"] == "renamed"
        with suppress(psycopg.errors.ProgramLimitExceeded):
            while True:
                fill(config)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="NOTIFY queue"):
            config.execute("UPDATE sources SET name = 'never'")
        assert (await service.details(source)).json()["source"]["name"] == "renamed"
        sleeper.execute("ROLLBACK")
        # Asking for the queue's usage discards the part that every listener has read; nothing else does while each
        # NOTIFY fails.
        await service.client.get("/health/ready")
        config.execute("UPDATE sources SET name = 'again'")
        await service.settled(config)
        assert (await service.details(source)).json()["source"]["name"] == "again"
        health = (await service.client.get("/health/ready")).json()
        assert not any("notification queue" in why for why in health["degraded"])


def fill(config: Sql) -> None:
    """Sends notifications on a channel that the service does not listen on."""
    config.execute("SELECT pg_notify('somebody_else', n || repeat('x', 4000)) FROM generate_series(1, 10) AS n")


async def test_no_descriptor_left_is_not_the_sources_fault(start: Start, config: Sql, shop_dsn: str) -> None:
    """A source that could not be asked is not down, and health says what to raise."""
    service: Service = await start()
    source = add_source(config, shop_dsn)
    await service.details(source)
    await service.runtime.connections.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        refused = await service.client.post(f"/api/v1/sources/{source}/refresh")
        report = (await service.client.get("/health/ready")).json()
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused.status_code == 502
    assert "this process has no file descriptor left" in refused.json()["message"]
    assert service.events.of(SourceDown) == []
    assert report["sources_failing"] == {}
    assert any("file descriptors are nearly exhausted" in why for why in report["degraded"])
    assert (await service.client.post(f"/api/v1/sources/{source}/refresh")).status_code == 200


def test_default_settings_fit_the_usual_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 where nobody has raised it."""
    monkeypatch.setenv("ROSETTA_CONFIG_DSN", "postgresql://x")
    monkeypatch.setenv("CREDENTIAL_ENCRYPTION_KEY", KEY)
    assert load().most_descriptors <= 1024


async def test_settings_that_need_more_are_degraded(start: Start) -> None:
    """Before anything fails."""
    service: Service = await start(most_streams=100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 50_000), hard))
    try:
        report = (await service.client.get("/health/ready")).json()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert any("the settings may need 100" in why for why in report["degraded"])
