"""Drift: what is published at the source, registered here, and carried by a pipeline, and where they differ."""

import json
import re
from typing import Any

import pytest
import redis as sync_redis

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.operations


async def drift(service: Service, source: int) -> dict[str, Any]:
    """The drift in the page's meta."""
    shown: dict[str, Any] = (await service.details(source)).json()["meta"]["drift"]
    return shown


async def test_what_differs_is_named(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """By what the source publishes now: since the last sync "old" has left its publication and "new" has joined it."""
    published.execute("CREATE TABLE new (id int PRIMARY KEY)")
    source = add_source(config, shop_dsn)
    for name in ("orders", "old", "older"):
        add_table(config, source, name)
    add_pipeline(config, source, "warehouse")
    config.execute("UPDATE pipelines SET status = 'START'")
    await service.settled(config)
    assert await drift(service, source) == {
        "published": 2,
        "registered": 3,
        "carried": 1,
        "not_registered": ["new"],
        "not_published": ["old", "older"],
    }
    page = await service.client.get(f"/sources/{source}/details", headers={"Accept": "text/html"})
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text))
    assert "1 published table, 3 registered, 1 carried by a pipeline" in words
    assert "Published, but not synced yet: new" in words
    assert "Registered, but no longer published: old, older" in words


async def test_paused_pipeline_carries_nothing(service: Service, config: Sql) -> None:
    """Nor does one without a destination. Each change shows with its notification."""
    source = add_source(config)
    add_table(config, source)
    add_pipeline(config, source)
    for change, carried in (
        ("UPDATE pipelines SET status = 'START'", 0),
        ("INSERT INTO destinations (name) VALUES ('lake')", 0),
        ("INSERT INTO pipelines_destination (pipeline_id, destination_id) SELECT p.id, d.id FROM pipelines p, destinations d", 1),  # noqa: E501  # reads best as one line
        ("UPDATE pipelines SET status = 'PAUSE'", 0),
        ("UPDATE pipelines SET status = 'REFRESH'", 1),
        ("DELETE FROM pipelines_destination", 0),
    ):  # fmt: skip
        config.execute(change)
        await service.settled(config)
        assert (await drift(service, source))["carried"] == carried, change


async def test_page_of_an_earlier_version_is_shown(service: Service, config: Sql, redis: sync_redis.Redis) -> None:
    """Two versions may run side by side."""
    source = add_source(config)
    add_table(config, source)
    await service.settled(config)
    page = (await service.details(source)).json()
    del page["meta"]["drift"]
    service.plant(redis, source, json.dumps(page))
    await service.settled(config)
    shown = await service.client.get(f"/sources/{source}/details")
    assert shown.status_code == 200
    assert "1 published table</p>" in shown.text


async def test_sync_ends_what_differed(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """The page in its answer already has what it registered and marked."""
    published.execute("CREATE TABLE new (id int PRIMARY KEY)")
    source = add_source(config, shop_dsn)
    for name in ("orders", "old"):
        add_table(config, source, name)
    await service.settled(config)
    before = await drift(service, source)
    assert (before["not_registered"], before["not_published"]) == (["new"], ["old"])
    after = (await service.sync(source))["meta"]["drift"]
    assert after == {
        "published": 2, "registered": 3, "carried": 0, "not_registered": [], "not_published": ["old"],
    }  # fmt: skip
