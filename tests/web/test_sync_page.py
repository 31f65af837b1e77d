"""The page of a sync, and its progress."""

import re

import pytest

from service.telemetry.events import SyncPhase
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service
from tests.fixtures.views import BROWSER, words


async def test_refresh_without_scripts_is_a_page(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """It lists the changes, table by table and column by column."""
    source = add_source(config, shop_dsn, name="shop")
    first = await service.client.post(f"/sources/{source}/refresh", headers=BROWSER)
    assert first.status_code == 200
    assert "orders: new table" in words(first)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2), DROP COLUMN note")
    second = await service.client.post(f"/sources/{source}/refresh", headers=BROWSER)
    assert "orders: version 2 (breaking), dropped note, added total" in words(second)
    third = await service.client.post(f"/sources/{source}/refresh", headers=BROWSER)
    assert "Nothing changed." in words(third)


@pytest.mark.usefixtures("published")
async def test_refresh_tells_how_it_goes_on(service: Service, config: Sql, shop_dsn: str) -> None:
    """Each phase, then the outcome."""
    source = add_source(config, shop_dsn)
    answer = await service.client.post(f"/sources/{source}/refresh", headers={"Accept": "text/event-stream"})
    phases = re.findall(r'event: phase\ndata: {"phase":"(\w+)","tables":(\w+)', answer.text)
    assert phases == [("connect", "null"), ("source", "null"), ("record", "1"), ("refresh", "null")]
    assert re.search(r'event: outcome\ndata: {"ok":true,"html":".*orders: new table', answer.text)
    assert len(service.events.of(SyncPhase)) == 3


async def test_refresh_that_fails_says_since_when_and_what_to_do(service: Service, config: Sql) -> None:
    """The source does not answer, and was never synced."""
    source = add_source(config)
    page = await service.client.post(f"/sources/{source}/refresh", headers=BROWSER)
    assert page.status_code == 502
    text = words(page)
    assert "the source database cannot be queried" in text
    assert re.search(r"has not answered since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
    assert "the last successful sync was never" in text
    assert "Check that the server answers" in text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_refresh_is_for_our_own_pages(service: Service, config: Sql, site: str) -> None:
    """Another site's form, sent by a person's browser, does not sync."""
    source = add_source(config)
    refused = await service.client.post(f"/sources/{source}/refresh", headers=BROWSER | {"Sec-Fetch-Site": site})
    assert refused.status_code == 403
    assert service.events.of(SyncPhase) == []
