"""Redis as a user with few rights: those that the documents name are enough, and fewer are noticed."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as sync_redis
from pydantic import SecretStr

from service.telemetry.events import CacheRefuses, CacheUp
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.faults

RIGHTS = "~source_details:* ~{source_details:* &__redis__:invalidate +@read +@write +@scripting +@connection +subscribe"


@pytest.fixture(params=["no tracking", "no channels"])
def restricted_url(request: pytest.FixtureRequest, redis_url: str, redis: sync_redis.Redis) -> Iterator[SecretStr]:
    """Redis as a user that may not track keys, or may not subscribe to the invalidations."""
    redis.acl_setuser(
        "plain",
        enabled=True,
        reset=True,
        passwords=["+plain-word"],
        categories=["+@all"],
        commands=["-client|tracking"] if request.param == "no tracking" else [],
        keys=["*"],
        channels=["*"] if request.param == "no tracking" else [],
        reset_channels=request.param != "no tracking",
    )
    place = urlsplit(redis_url)
    yield SecretStr(f"redis://plain:plain-word@{place.hostname}:{place.port}/0")
    redis.acl_deluser("plain")


async def test_redis_without_tracking_keeps_pages_out_of_the_process(
    start: Start, config: Sql, restricted_url: SecretStr, redis: sync_redis.Redis
) -> None:
    """If an outside DEL could be missed, only Redis holds pages, and the health report says so."""
    service: Service = await start(redis_url=restricted_url)
    source = add_source(config)
    await service.settled(config)
    for _ in range(3):
        page = await service.details(source)
    assert "detail=redis" in page.headers["cache-status"]
    redis.delete(f"source_details:{source}")
    assert "fwd=miss" in (await service.details(source)).headers["cache-status"]
    health = (await service.client.get("/health/ready")).json()
    assert any("TRACKING" in why for why in health["degraded"])
    assert [event.tracking for event in service.events.of(CacheUp)] == [False]


def test_rights_are_those_of_the_readme() -> None:
    """The next test tries them."""
    assert RIGHTS in Path("docs/redis.md").read_text()


async def test_rights_that_the_readme_names_are_enough(
    start: Start, config: Sql, redis_url: str, redis: sync_redis.Redis
) -> None:
    """No right on other keys, and no command that is not needed."""
    redis.execute_command("ACL SETUSER plain reset on >plain-word", *RIGHTS.split())  # type: ignore[no-untyped-call]  # bare
    place = urlsplit(redis_url)
    try:
        url = SecretStr(f"redis://plain:plain-word@{place.hostname}:{place.port}/0")
        service: Service = await start(redis_url=url)
        source = add_source(config)
        await service.settled(config)
        assert "stored" in (await service.details(source)).headers["cache-status"]
        config.execute("UPDATE sources SET name = 'renamed'")
        await service.settled(config)
        assert (await service.details(source)).json()["source"]["name"] == "renamed"
        assert [event.tracking for event in service.events.of(CacheUp)] == [True]
        assert not service.events.of(CacheRefuses)
    finally:
        redis.acl_deluser("plain")
