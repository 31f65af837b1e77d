"""The web pages in a real browser: live changes, refreshes, lost connections, and no scripts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.proxy import Proxy
from tests.fixtures.runtime import Service, Start
from tests.fixtures.web import Open, Site, add_version, show

pytestmark = pytest.mark.browser

ServeSite = Callable[[Service], Awaitable[Site]]


async def test_commit_shows_and_moves_only_what_changed(page: Page, site: Site, config: Sql) -> None:
    """Without a reload: other rows are still the same elements. For the latency see test_browser_quality."""
    source = add_source(config)
    changed, other = add_table(config, source, "changed"), add_table(config, source, "other")
    await site.service.settled(config)
    await show(page, site, source)
    await page.evaluate(f"document.getElementById('table-{other}').kept = document.querySelector('h1').kept = true")
    await add_version(config, changed, 7)
    await expect(page.locator(f"#table-{changed} td").first).to_have_text("7")
    await expect(page.locator(f"#table-{changed} .badge")).to_have_text("column added")
    assert await page.evaluate(f"document.getElementById('table-{other}').kept")
    assert await page.evaluate("document.querySelector('h1').kept")


async def test_tables_that_come_and_go_show_too(page: Page, site: Site, config: Sql) -> None:
    """In the right order, and the text in the search field stays."""
    source = add_source(config)
    add_table(config, source, "b")
    await site.service.settled(config)
    await show(page, site, source)
    await page.fill("#search", "b")
    add_table(config, source, "a")
    table = add_table(config, source, "bb")
    await expect(page.locator("#listed tr")).to_have_count(3)
    assert await page.locator("#listed tr:visible th").all_inner_texts() == ["b", "bb"]
    config.execute("DELETE FROM table_metadata_list WHERE id = %s", (table,))
    await expect(page.locator("#listed tr")).to_have_count(2)
    await expect(page.locator("#part-count")).to_contain_text("2 published tables")


async def test_page_that_is_older_than_its_event_is_read_again(page: Page, site: Site, config: Sql) -> None:
    """It may come from another process that has not noticed the change yet."""
    source = add_source(config)
    add_table(config, source, "first")
    await site.service.settled(config)
    await show(page, site, source)
    older = await page.evaluate("fetch(location.href).then((answer) => answer.text())")
    answered: list[str] = []

    async def answer(route: Route) -> None:
        answered.append(route.request.url)
        if len(answered) == 1:
            await route.fulfill(body=older, content_type="text/html")
        else:
            await route.continue_()

    await page.route("**/details", answer)
    add_table(config, source, "second")
    await expect(page.locator("#listed tr")).to_have_count(2)
    assert len(answered) >= 2


async def test_reading_again_is_for_once(page: Page, site: Site, config: Sql) -> None:
    """A browser's reload, and what the script reads later, come from the caches."""
    source = add_source(config)
    await site.service.settled(config)
    await show(page, site, source)
    await page.click("text=What the caches did")
    await page.click("text=Read past the caches")
    await expect(page.locator("#live")).to_have_text("Live")
    assert page.url == f"{site.url}/sources/{source}/details"


async def test_search_filters_at_once(page: Page, site: Site, config: Sql) -> None:
    """Rows that the server left out come back too."""
    source = add_source(config)
    for name in ("orders", "order_lines", "customers"):
        add_table(config, source, name)
    await site.service.settled(config)
    await show(page, site, source, "?search=order")
    await expect(page.locator("#listed tr")).to_have_count(2)
    await page.fill("#search", "order_")
    await expect(page.locator("#shown")).to_have_text("1 shown")
    assert await page.locator("#listed tr:visible th").all_inner_texts() == ["order_lines"]
    await page.fill("#search", "c")
    await expect(page.locator("#listed tr")).to_have_count(1)
    await expect(page.locator("#listed tr:visible th")).to_have_text("customers")


async def test_table_opens_its_schema_and_keyboard_is_enough(
    page: Page, site: Site, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Enter opens it, Escape closes it, and the focus comes back; an open dialog shows changes live."""
    source = add_source(config, shop_dsn)
    await site.service.sync(source)
    await show(page, site, source)
    await page.locator("#listed a").focus()
    await page.keyboard.press("Enter")
    dialog = page.locator("#schema")
    await expect(dialog.locator("h1")).to_have_text("orders")
    await expect(dialog.locator("tbody tr").first).to_contain_text("bigint")
    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2), DROP COLUMN note")
    await site.service.sync(source)
    await expect(dialog.locator("tr.added")).to_contain_text("+ added: total")
    await expect(dialog.locator("tr.dropped")).to_contain_text("dropped: note")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    # The row was replaced while the dialog was open.
    await expect(page.locator("#listed a")).to_be_focused()


async def test_refresh_shows_its_progress_and_what_changed(
    page: Page, site: Site, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Phase by phase, then table by table; the rows follow automatically."""
    source = add_source(config, shop_dsn)
    await show(page, site, source)
    await page.evaluate(
        """
        window.steps = [];
        new MutationObserver(() => window.steps.push(document.getElementById("progress").innerText))
          .observe(document.getElementById("progress"), { childList: true, subtree: true });
        """
    )
    await page.click("#refresh button")
    await expect(page.locator("#progress")).to_contain_text("orders: new table")
    steps = "\n".join(await page.evaluate("window.steps"))
    for words in (
        "Connecting to the source",
        "Reading its catalogs",
        "Comparing and recording 1 tables",
        "Refreshing the view",
    ):
        assert words in steps
    await expect(page.locator("#listed tr th")).to_have_text("orders")
    await expect(page.locator("#refresh button")).to_be_enabled()
    published.execute("ALTER TABLE orders DROP COLUMN note")
    await page.click("#refresh button")
    await expect(page.locator("#progress")).to_contain_text("orders: version 2 (breaking), dropped note")
    await expect(page.locator("#listed td").first).to_have_text("2")


async def test_refresh_that_is_refused_says_why(page: Page, start: Start, serve_site: ServeSite, config: Sql) -> None:
    """No sync began, so there is nothing to wait for."""
    source = add_source(config)
    site = await serve_site(await start(syncs_per_minute=1))
    await show(page, site, source)
    await page.click("#refresh button")
    progress = page.locator("#progress")
    await expect(progress).to_contain_text("the source database cannot be queried")
    await page.click("#refresh button")
    await expect(progress).to_contain_text("The sync did not begin: at most 1 syncs a minute; try again in")


async def test_dead_source_is_told_so_that_a_person_knows_what_to_do(page: Page, site: Site, config: Sql) -> None:
    """Since when it fails, the last good sync, what to check."""
    source = add_source(config)
    add_table(config, source, "known")
    await show(page, site, source)
    await page.click("#refresh button")
    progress = page.locator("#progress")
    await expect(progress).to_contain_text("the source database cannot be queried")
    await expect(progress).to_contain_text("has not answered since")
    await expect(progress).to_contain_text("last successful sync was never")
    await expect(progress).to_contain_text("Check that the server answers")
    await expect(page.locator("#part-freshness")).to_contain_text("The source database does not answer")
    await expect(page.locator("#listed tr th")).to_have_text("known")


async def test_dead_redis_changes_nothing_for_people(page: Page, site: Site, config: Sql) -> None:
    """Pages and live changes still work."""
    source = add_source(config)
    table = add_table(config, source, "t")
    await show(page, site, source)
    site.service.runtime.cache.fail("taken away")
    await page.reload()
    await expect(page.locator("#live")).to_have_text("Live")
    await add_version(config, table, 3)
    await expect(page.locator(f"#table-{table} td").first).to_have_text("3")


async def test_lost_connection_is_shown_and_heals(
    browser: Browser, site: Site, config: Sql, proxy: Callable[..., Awaitable[Proxy]]
) -> None:
    """Missed changes are shown afterwards, without a reload."""
    source = add_source(config)
    table = add_table(config, source, "t")
    await site.service.settled(config)
    between = await proxy("127.0.0.1", int(site.url.rpartition(":")[2]))
    page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{between.port}/sources/{source}/details")
    await expect(page.locator("#live")).to_have_text("Live")
    await page.evaluate("window.same = true")
    await between.cut()
    await expect(page.locator("#live")).to_contain_text("Connection lost")
    await add_version(config, table, 9)
    await site.service.settled(config)
    await between.start()
    await expect(page.locator("#live")).to_have_text("Live", timeout=20_000)
    await expect(page.locator(f"#table-{table} td").first).to_have_text("9")
    assert await page.evaluate("window.same")
    await page.close()


async def test_page_that_nobody_sees_gives_its_connection_back(page: Page, site: Site, config: Sql) -> None:
    """And catches up when it is visible again."""
    source = add_source(config)
    table = add_table(config, source, "t")
    await site.service.settled(config)
    await show(page, site, source)
    hide = """(state) => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await page.evaluate(hide, "hidden")
    async with asyncio.timeout(60):
        while site.service.app.live.streams:  # noqa: ASYNC110  # the server notices it on the socket
            await asyncio.sleep(0)
    await add_version(config, table, 4)
    await site.service.settled(config)
    await page.evaluate(hide, "visible")
    await expect(page.locator(f"#table-{table} td").first).to_have_text("4")


@pytest.mark.usefixtures("published")
async def test_everything_works_without_scripts(browser: Browser, site: Site, config: Sql, shop_dsn: str) -> None:
    """With links and forms: list, details, search, sort, schema, refresh."""
    add_source(config, shop_dsn, name="shop")
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(site.url)
    await page.click("text=shop")
    await page.click("text=Sync now")
    await expect(page.locator("main")).to_contain_text("orders: new table")
    await page.click("text=Back to the source")
    await page.fill("#search", "ORD")
    await page.click("text=Search >> nth=-1")
    await expect(page.locator("#listed tr")).to_have_count(1)
    await page.click("th >> text=Version")
    await expect(page.locator("[aria-sort]")).to_have_text("Version")
    await page.click("#listed a")
    await expect(page.locator("h1")).to_have_text("orders")
    await expect(page.locator("main")).to_contain_text("character varying(20)")
    await page.click("nav >> text=shop")
    await page.click("text=What the caches did")
    await page.click("text=Read past the caches")
    await expect(page.locator(".came")).to_contain_text("from the database")
    await context.close()


async def test_page_below_a_path_works_whole(
    page: Page, start: Start, serve_site: Open, config: Sql, shop_dsn: str, published: Sql
) -> None:
    """Its script, its live changes, its schemas and its sync."""
    assert published
    site = await serve_site(await start(root_path="/rosetta"))
    source = add_source(config, shop_dsn)
    await page.goto(f"{site.url}/rosetta/")
    await page.click(f"text=source-{source}")
    await expect(page.locator("#live")).to_have_text("Live")
    assert page.url == f"{site.url}/rosetta/sources/{source}/details"
    await page.click("text=Sync now")
    await page.click("#listed a >> text=orders")
    await expect(page.locator("#schema")).to_contain_text("bigint")
