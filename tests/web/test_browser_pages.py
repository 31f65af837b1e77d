"""What pages offer in a real browser: the live list, the lag chart, schemas in the URL, copying, and the watchdog."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.web import Site, add_version, show

pytestmark = pytest.mark.browser


def measure(config: Sql, source: int, hours: int = 30) -> None:
    """A measurement every ten minutes, of one MB more each time."""
    config.execute(
        "INSERT INTO source_details_lag (source_id, seen_at, lag_bytes, retained_bytes, lag_s) "
        "SELECT %s, now() - make_interval(mins => 10 * n), (%s - n) * 1048576::bigint, 1, 90 "
        "FROM generate_series(1, %s) AS n",
        (source, hours * 6, hours * 6),
    )


async def test_list_is_live_and_keeps_the_focus(page: Page, site: Site, config: Sql) -> None:
    """A source that comes or breaks shows without a reload; the first one replaces the page without any."""
    await page.goto(site.url)
    await expect(page.locator("#live")).to_have_text("Live")
    first = add_source(config, name="first")
    await expect(page.locator("#sources tbody tr")).to_have_count(1)
    await page.evaluate("window.same = true")
    link = page.locator("#sources tbody a")
    await link.focus()
    add_source(config, name="second")
    await expect(page.locator("#sources tbody tr")).to_have_count(2)
    config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'slot is lost')", (first,))
    await expect(page.locator("#sources tbody tr").first).to_contain_text("replication fails: slot is lost")
    await expect(page).to_have_title("1 in error · Sources · Rosetta")
    await expect(page.locator("#sources tbody a", has_text="first")).to_be_focused()
    assert await page.evaluate("window.same")


async def test_list_is_searched_while_a_person_types(page: Page, site: Site, config: Sql) -> None:
    """Slash goes to the field; what is found is in the URL, and survives a reload."""
    for name in ("orders", "payments"):
        add_source(config, name=name)
    await page.goto(site.url)
    await page.keyboard.press("/")
    await page.keyboard.type("PAY")
    await expect(page.locator("#sources tbody tr")).to_have_count(1)
    assert page.url == f"{site.url}/?search=PAY"
    await page.keyboard.press("Escape")
    await expect(page.locator("#search")).not_to_be_focused()
    await page.reload()
    await expect(page.locator("#sources tbody tr")).to_have_count(1)
    await page.fill("#search", "")
    await expect(page.locator("#sources tbody tr")).to_have_count(2)


@pytest.mark.parametrize("width", [360, 700, 860])
async def test_narrow_list_is_as_readable_as_a_wide_one(browser: Browser, site: Site, config: Sql, width: int) -> None:
    """No word is broken into letters, and nothing lies over anything else."""
    add_source(config, name="orders-of-all-shops", pg_host="db-with-a-long-name.internal.region-1.example.com")
    page = await browser.new_page(viewport={"width": width, "height": 800})
    await page.goto(site.url)
    boxes = await page.evaluate(
        "[...document.querySelectorAll('#sources tbody th, #sources tbody td')].map((cell) => {"
        "  const box = cell.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]; })"
    )
    name = await page.locator("#sources tbody th a").bounding_box()
    assert name is not None
    assert name["height"] < 30
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        for other in boxes[number + 1 :]:
            assert other[0] >= right - 1 or other[2] <= left + 1 or other[1] >= bottom - 1 or other[3] <= top + 1
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.close()


async def test_frozen_service_is_noticed_and_the_page_heals(page: Page, site: Site, config: Sql) -> None:
    """A connection that stays open and silent: the whole page says that it is not current."""
    source = add_source(config)
    await site.service.settled(config)
    await page.clock.install()
    await show(page, site, source)
    await page.clock.fast_forward(11_000)
    await expect(page.locator("body")).not_to_have_class(re.compile("not-current"))
    await page.clock.fast_forward(13_000)
    await expect(page.locator("#live")).to_have_text("Not current: the service is silent")
    await expect(page.locator("body")).to_have_class(re.compile("not-current"))
    await page.clock.fast_forward(6_000)
    await expect(page.locator("#live")).to_have_text("Live")
    await expect(page.locator("body")).not_to_have_class(re.compile("not-current"))


async def test_lag_is_read_out_and_shown_over_longer_times(page: Page, site: Site, config: Sql) -> None:
    """By the pointer and by the keyboard; the span is in the URL, and a change does not take it away."""
    source = add_source(config)
    table = add_table(config, source, "t")
    measure(config, source)
    await site.service.settled(config)
    await show(page, site, source)
    chart, readout = page.locator("svg.lag"), page.locator(".readout")
    await expect(page.locator("#lag")).to_contain_text("last hour")
    box = await chart.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + 60)
    await expect(readout).to_contain_text(re.compile(r"lag 17\d MB, about 1 minute; WAL kept 1 bytes"))
    await page.click("text=24h")
    await expect(page.locator("#lag")).to_contain_text("last 24 hours")
    assert page.url.endswith("?span=24h")
    await chart.focus()
    await page.keyboard.press("Home")
    await expect(readout).to_contain_text(re.compile(r"lag 3[5-8] MB"))
    await page.keyboard.press("ArrowRight")
    await expect(readout).to_contain_text(re.compile(r"lag 3[6-9] MB"))
    await add_version(config, table, 7)
    await expect(page.locator(f"#table-{table} td").first).to_have_text("7")
    await expect(page.locator("#lag")).to_contain_text("last 24 hours")
    await page.reload()
    await expect(page.locator("#lag")).to_contain_text("last 24 hours")


async def test_open_table_and_version_are_in_the_url(page: Page, site: Site, config: Sql) -> None:
    """Whoever gets the link sees the same."""
    source = add_source(config)
    table = add_table(config, source, "orders")
    await add_version(config, table, 3)
    await site.service.settled(config)
    await show(page, site, source)
    await page.click("#listed a")
    await expect(page.locator("#schema h1")).to_have_text("orders")
    assert page.url.endswith(f"/sources/{source}/details#schema-{table}")
    await page.click("#schema h2 >> text=Version 2")
    await page.wait_for_url(f"**#schema-{table}-2")
    await page.reload()
    await expect(page.locator("#version-2")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.wait_for_url(re.compile("details$"))


async def test_remedy_is_copied(browser: Browser, site: Site, config: Sql) -> None:
    """The command that the page shows is what a person pastes."""
    source = add_source(config)
    config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'slot is lost')", (source,))
    await site.service.settled(config)
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await show(page, site, source)
    shown = await page.locator("#part-health code").first.text_content()
    await page.locator("#part-health button.copy").first.click()
    await expect(page.locator("#part-health button.copy").first).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == shown
    await context.close()


async def test_times_are_relative_and_exact_on_demand(page: Page, site: Site, config: Sql) -> None:
    """The tooltip has both zones."""
    source = add_source(config)
    table = add_table(config, source, "t")
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type, created_at) "
        "VALUES (%s, 2, 'NEW COLUMN', now() - interval '125 minutes')",
        (table,),
    )
    await site.service.settled(config)
    await show(page, site, source)
    time = page.locator("#listed time")
    await expect(time).to_have_text("2 hr. ago")
    await expect(time).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC · \d+ \w+ \d{4}"))
    await time.click()
    await expect(time).to_have_text(re.compile(r"^\d+ \w+ \d{4}"))


async def test_progress_goes_away(page: Page, site: Site, config: Sql, published: Sql, shop_dsn: str) -> None:
    """A success after a while that nobody points at it, a failure when a person closes it."""
    assert published
    source, failing = add_source(config, shop_dsn), add_source(config, name="failing")
    await page.clock.install()
    await show(page, site, source)
    await page.click("#refresh button")
    await expect(page.locator("#progress")).to_contain_text("orders: new table")
    await page.mouse.move(0, 0)
    await page.clock.fast_forward(21_000)
    await expect(page.locator("#progress")).to_be_hidden()
    await show(page, site, failing)
    await page.click("#refresh button")
    await expect(page.locator("#progress")).to_contain_text("cannot be queried")
    await page.clock.fast_forward(21_000)
    await expect(page.locator("#progress")).to_be_visible()
    await page.click("#progress .close")
    await expect(page.locator("#progress")).to_be_hidden()
