"""Pictures of the web pages: a gallery of every state to look at, and a few that must not change unnoticed.

`bin/test -m browser --gallery DIR` writes the gallery: every state below, at four widths, in both themes. Without it a
few of them are compared with `tests/web/pictures/`; `ROSETTA_WRITE_PICTURES=1` makes those anew.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.pictures import difference, fonts
from tests.fixtures.runtime import Service
from tests.fixtures.web import Site

pytestmark = pytest.mark.browser

_PICTURES = Path(__file__).parent / "pictures"
_WIDTHS = (360, 768, 1280, 1920)
_THEMES: tuple[Any, ...] = ("light", "dark")
_HELD: list[tuple[str, int, Any]] = [
    ("list-3", 360, "light"), ("list-3", 1280, "dark"), ("error", 360, "dark"), ("error", 1280, "light"),
    ("healthy", 1280, "light"), ("schema", 1280, "light"),
]  # fmt: skip
# A changed letter is about 50 of a picture's million points.
_MOST_CHANGED = 0.00006

# Times, places and ports are others in each run.
_STILL = """
() => {
  document.querySelectorAll("time").forEach((time) => { time.textContent = "3 min. ago"; });
  document.querySelectorAll(".where code").forEach((place) => {
    if (place.textContent.length < 60) place.textContent = "rosetta@db.example.com:5432/shop";
  });
  document.querySelectorAll("tbody th small").forEach((place) => {
    if (place.textContent.includes("/")) place.textContent = "db.example.com:5432/shop";
  });
  document.querySelectorAll("svg.lag text").forEach((text) => {
    if (/^\\d\\d:\\d\\d$/.test(text.textContent)) text.textContent = "13:00";
  });
  document.querySelectorAll(".figures small").forEach((trend) => {
    if (trend.textContent.includes("/min")) trend.textContent = "▲ 200 kB/min";
  });
  document.querySelectorAll("dd").forEach((fact) => {
    if (/^(PostgreSQL \\d|[0-9A-F]+\\/[0-9A-F]+$)/.test(fact.textContent)) fact.textContent = "1/2";
    if (/^test_\\d+_/.test(fact.textContent)) fact.textContent = "rosetta_slot";
  });
  const live = document.getElementById("live");
  if (live) live.textContent = live.textContent.slice(0, 40);
  document.activeElement?.blur();
}
"""

Prepare = Callable[[Page], Awaitable[None]]


async def nothing(page: Page) -> None:
    """The page as it opens."""


async def open_schema(page: Page) -> None:
    """The first table's schema over the page."""
    await page.locator("#listed a").first.click()
    await expect(page.locator("#schema h1")).to_be_visible()


async def sync(page: Page) -> None:
    """A sync, to its outcome."""
    await page.click("#refresh button")
    await expect(page.locator("#progress p").first).to_be_visible()


async def begin_sync(page: Page) -> None:
    """A sync that is on its way."""
    held = asyncio.Event()

    async def hold(route: Any) -> None:
        body = "".join(
            f'event: phase\ndata: {{"phase":"{phase}","tables":{tables},"ms":{ms}}}\n\n'
            for phase, tables, ms in (("connect", "null", 3), ("source", "null", 41), ("record", "50", 180))
        )
        await route.fulfill(body=body, content_type="text/event-stream")
        held.set()

    await page.route("**/refresh", hold)
    await page.click("#refresh button")
    await held.wait()
    await expect(page.locator("#progress li")).to_have_count(3)


async def lose(page: Page) -> None:
    """A page whose stream is lost."""
    await page.evaluate('say("Connection lost, trying again", true)')


def states(made: dict[str, int]) -> dict[str, tuple[str, Prepare]]:
    """What to look at: the path, and what to do there."""
    page = "/sources/{}/details".format
    table = f"/sources/tables/{made['table']}"
    return {
        "healthy": (page(made["healthy"]), nothing),
        "healthy-24h": (page(made["healthy"]) + "?span=24h", nothing),
        "unknown": (page(made["unknown"]), nothing),
        "warning": (page(made["warning"]), nothing),
        "error": (page(made["error"]), nothing),
        "no-tables": (page(made["empty"]), nothing),
        "1000-tables": (page(made["large"]), nothing),
        "long-names": (page(made["long"]), nothing),
        "schema": (page(made["healthy"]), open_schema),
        "sync-done": (page(made["healthy"]), sync),
        "sync-failed": (page(made["unknown"]), sync),
        "sync-progress": (page(made["healthy"]), begin_sync),
        "not-current": (page(made["healthy"]), lose),
        "table": (table, nothing),
        "compare": (table + "?from=1&to=2", nothing),
        "not-found": ("/sources/999999/details", nothing),
    }


async def add_three(service: Service, config: Sql, shop: Sql, shop_dsn: str) -> dict[str, int]:
    """A healthy source, one to warn of and a broken one; returns their ids, and a table's."""
    for number in range(1, 50):
        shop.execute(f"CREATE TABLE {'order_lines' if number == 1 else f'table_{number:02}'} (id bigint PRIMARY KEY)")
    made = {"healthy": add_source(config, shop_dsn, name="shop", replication_name=_slot(shop, "first"))}
    await service.sync(made["healthy"])
    shop.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2) NOT NULL DEFAULT 0, DROP COLUMN note")
    page = await service.sync(made["healthy"])
    made["table"] = next(table["id"] for table in page["tables"] if table["table_name"] == "orders")
    add_pipeline(config, made["healthy"], "warehouse", "lake")
    config.execute("UPDATE pipelines SET status = 'START'")
    _measure(config, made["healthy"], retained=180)
    made["warning"] = add_source(config, shop_dsn, name="events", replication_name=_slot(shop, "second"))
    await service.sync(made["warning"])
    _measure(config, made["warning"], retained=3600)
    made["error"] = add_source(config, shop_dsn, name="payments", replication_name="gone")
    await service.sync(made["error"])
    config.execute(
        "INSERT INTO wal_monitor (source_id, status, error_message, replication_lag_bytes, total_wal_size) "
        "VALUES (%s, 'ERROR', 'slot \"gone\" does not exist', 7340032, '6144 MB')",
        (made["error"],),
    )
    await service.settled(config)
    return made


async def add_others(service: Service, config: Sql) -> dict[str, int]:
    """Sources that cannot be reached: one that is new, one with a thousand tables, one with long names, and many."""
    made = {name: add_source(config, name=name) for name in ("unknown", "empty", "large")}
    for name in ("invoices", "payments"):
        add_table(config, made["unknown"], name)
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name, schema_table) "
        "SELECT %s, 'table_' || to_char(n, 'FM0000'), '{}' FROM generate_series(1, 1000) AS n",
        (made["large"],),
    )
    made["long"] = add_source(
        config, name="a_source_whose_name_" * 6, pg_host=f"db-{'with-a-long-name-' * 5}.example.com"
    )
    add_table(config, made["long"], "a_table_whose_name_is_long_" * 2, 200)
    config.execute(
        """
        INSERT INTO sources (name, pg_host, pg_database, pg_username, publication_name, replication_name)
        SELECT 'tenant ' || to_char(n, 'FM000'), 'db.example.com', 'tenant', 'u', 'p', 'r'
        FROM generate_series(1, 493) AS n
        """
    )
    await service.settled(config)
    return made


def _slot(shop: Sql, more: str = "first") -> str:
    name = f"{shop.info.dbname}_{more}"
    shop.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
    return name


def _measure(config: Sql, source: int, retained: int) -> None:
    """An hour of measurements, with ten minutes missing."""
    config.execute(
        """
        INSERT INTO source_details_lag (source_id, seen_at, lag_bytes, retained_bytes, confirmed_lsn, restart_lsn,
            wal_status)
        SELECT
            %s, now() - make_interval(mins => 60 - n), (1 + sin(n / 7.0)) * 2000000 * (1 + n %% 5),
            %s * 1048576::bigint, '1/2', '1/1', 'reserved'
        FROM generate_series(1, 60) AS n
        WHERE n NOT BETWEEN 30 AND 40
        """,
        (source, retained),
    )
    config.execute(
        "INSERT INTO wal_monitor (source_id, status, wal_lsn, replication_lag_bytes, total_wal_size, "
        "last_wal_received) VALUES (%s, 'ACTIVE', '1/2', 1800000, %s, now())",
        (source, f"{retained} MB"),
    )


def _folder(name: str) -> Path:
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def show(page: Page, url: str, prepare: Prepare) -> None:
    """Opens a page, and makes it the same in each run."""
    await page.goto(url)
    if await page.locator("#live").count():
        await expect(page.locator("#live")).to_have_text("Live")
    await prepare(page)
    await page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
    await page.evaluate(_STILL)


async def take(browser: Browser, site: Site, folder: Path, shown: dict[str, tuple[str, Prepare]]) -> None:
    """Pictures of each state, at each width and in each theme. Nothing may be wider than the screen."""
    for theme in _THEMES:
        for width in _WIDTHS:
            context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
            for name, (path, prepare) in shown.items():
                page = await context.new_page()
                await show(page, site.url + path, prepare)
                await page.screenshot(path=folder / f"{name}-{width}-{theme}.png")
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width}"
                await page.close()
            await context.close()


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("published")
async def test_gallery(
    browser: Browser, site: Site, config: Sql, shop: Sql, shop_dsn: str, request: pytest.FixtureRequest
) -> None:
    """Every state is written as a picture."""
    directory = request.config.getoption("gallery")
    if directory is None:
        pytest.skip("writes pictures for people: --gallery DIR")
    folder = _folder(directory)
    await take(browser, site, folder, {"list-0": ("/", nothing)})
    made = await add_three(site.service, config, shop, shop_dsn)
    await take(browser, site, folder, {"list-3": ("/", nothing)})
    made |= await add_others(site.service, config)
    listed = {"list-500": ("/", nothing), "list-search": ("/?search=tenant+4&sort=tables", nothing)}
    others = {
        "timeline": (f"/sources/{made['error']}/timeline", nothing),
        "activity": (f"/sources/{made['healthy']}/activity", nothing),
        "find": ("/find?q=id", nothing),
        "notices": ("/notices", nothing),
    }
    await take(browser, site, folder, listed | others | states(made))


@pytest.mark.usefixtures("published")
async def test_pages_look_as_they_did(
    browser: Browser, site: Site, config: Sql, shop: Sql, shop_dsn: str, tmp_path: Path
) -> None:
    """A picture that differs fails, with both pictures and their difference."""
    made = await add_three(site.service, config, shop, shop_dsn)
    shown = {"list-3": ("/", nothing)} | states(made | dict.fromkeys(("unknown", "empty", "large", "long"), 0))
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(site.url)
    here = await fonts(page)
    is_written = bool(os.environ.get("ROSETTA_WRITE_PICTURES"))
    made_with = json.loads((_PICTURES / "fonts.json").read_text()) if not is_written else here
    if made_with != here:
        pytest.skip("the pictures were made with other fonts: ROSETTA_WRITE_PICTURES=1 makes them anew before a change")
    changed = []
    for name, width, theme in _HELD:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme=theme)
        path, prepare = shown[name]
        await show(page, site.url + path, prepare)
        # The time that has passed since the last measurement moves the curves.
        await page.evaluate("document.querySelectorAll('.lag polyline').forEach((line) => line.remove())")
        picture, held = await page.screenshot(), _PICTURES / f"{name}-{width}-{theme}.png"
        if is_written:
            held.write_bytes(picture)
            continue
        share, marked = await difference(page, held.read_bytes(), picture)
        if share > _MOST_CHANGED:
            for kind, content in (("before", held.read_bytes()), ("after", picture), ("difference", marked)):
                (tmp_path / f"{held.stem}-{kind}.png").write_bytes(content)
            changed.append(f"{held.stem}: {share:.2%} of its points")
    if is_written:
        (_PICTURES / "fonts.json").write_text(json.dumps(here) + "\n")
    assert not changed, f"{', '.join(changed)} changed; the pictures are in {tmp_path}"
    await context.close()
