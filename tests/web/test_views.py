"""The web pages without scripts: their content, their caching, and what they refuse."""

import asyncio
import html
import re
from hashlib import blake2b
from typing import Any

import httpx
import msgspec
import pytest

from service.http import templates
from service.telemetry.events import SourceDown, SyncPhase
from service.web import assets, live, portrait
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.runtime import Service

_BROWSER = {"Accept": "text/html,application/xhtml+xml"}


async def get(service: Service, path: str, **options: Any) -> httpx.Response:
    """The answer to a browser."""
    return await service.client.get(path, headers=_BROWSER | options.pop("headers", {}), **options)


def words(response: httpx.Response) -> str:
    """The text that a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.text))


async def test_list_shows_each_source_at_a_look(service: Service, config: Sql) -> None:
    """The worst first, each with one reason, its tables and its lag; the search covers all that is shown."""
    healthy = add_source(config, name="orders", is_publication_enabled=True, is_replication_enabled=True)
    add_table(config, healthy, "one")
    config.execute(
        "INSERT INTO wal_monitor (source_id, replication_lag_bytes, total_wal_size) VALUES (%s, 2048, '16 MB')",
        (healthy,),
    )
    failing = add_source(config, name="payments", pg_host="db.example.com")
    config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'slot is lost')", (failing,))
    listed = await get(service, "/")
    assert listed.status_code == 200
    said = words(listed)
    assert re.search(r"orders 127\.0\.0\.1:1/shop .* Healthy 1 2\.0 kB never", said)
    assert re.search(r"payments .* Error replication fails: slot is lost \(and 1 more\)", said)
    assert said.index("payments") < said.index("orders 127")
    assert "1\u20132 of 2" in said
    for search in ("EXAMPLE.com", "slot IS lost", "error"):
        found = await get(service, "/", params={"search": search})
        assert "payments" in found.text
        assert ">orders<" not in found.text
    assert "No source matches 2 sources are there." in words(await get(service, "/", params={"search": "%"}))


async def test_states_are_counted_and_chosen(service: Service, config: Sql) -> None:
    """The counts are those of the search; what is chosen is in the URL, and links keep the rest of it."""
    for number in range(5):
        source = add_source(config, name=f"source {number}")
        if number < 2:
            config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'slot is lost')", (source,))
    page = await get(service, "/", params={"search": "source", "sort": "name"})
    assert "2 in error · Sources" in page.text
    chips = re.findall(r'class="chip" href="([^"]+)"[^>]*>(.*?)</a>', page.text)
    assert [re.sub(r"<[^>]*>", "", label).split() for _, label in chips] == [
        ["All", "5"], ["✕", "Error", "2"], ["?", "Unknown", "3"],
    ]  # fmt: skip
    assert chips[1][0] == "./?search=source&amp;state=error&amp;sort=name"
    chosen = await get(service, "/", params={"search": "source", "state": "error"})
    assert re.findall(r">(source \d)<", chosen.text) == ["source 0", "source 1"]
    assert "1\u20132 of 2" in words(chosen)


async def test_list_is_sorted_by_each_heading(service: Service, config: Sql) -> None:
    """Unknown lags last, never synced first, equal ones by name."""
    for name, lag, tables in (("a", 10, 1), ("b", None, 3), ("c", 5000, 2)):
        source = add_source(config, name=name)
        for number in range(tables):
            add_table(config, source, f"t{number}")
        if lag is not None:
            config.execute(
                "INSERT INTO wal_monitor (source_id, replication_lag_bytes, total_wal_size) VALUES (%s, %s, '1 MB')",
                (source, lag),
            )
        if name == "a":
            config.execute(
                "INSERT INTO source_details_sync_state (source_id, number, synced_at, incarnation, source_snapshot) "
                "VALUES (%s, 1, now(), 'server', '1:1:')",
                (source,),
            )
    for sort, names in {"lag": "cab", "tables": "bca", "name": "abc", "synced": "bca"}.items():
        page = await get(service, "/", params={"sort": sort})
        assert "".join(re.findall(r'details">(\w)</a>', page.text)) == names, sort
    assert (await get(service, "/", params={"sort": "nonsense"})).text == (await get(service, "/")).text


async def test_list_without_any_source_says_how_to_add_one(service: Service) -> None:
    """The command is ready to copy."""
    page = await get(service, "/")
    assert "No source yet" in page.text
    assert "rosetta sources add" in page.text


async def test_list_has_pages(service: Service, config: Sql) -> None:
    """A hundred sources at a time."""
    config.execute(
        """
        INSERT INTO sources (name, pg_host, pg_database, pg_username, publication_name, replication_name)
        SELECT 'source ' || to_char(n, 'FM000'), 'h', 'd', 'u', 'p', 'r' FROM generate_series(1, 150) AS n
        """
    )
    first = await get(service, "/")
    assert "1\u2013100 of 150" in words(first)
    assert "source 100" in first.text
    assert "source 101" not in first.text
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = await get(service, following.replace("&amp;", "&"))
    assert "source 101" in second.text
    assert "101\u2013150 of 150" in words(second)
    assert len(re.findall(r'rel="prev" href="([^"]+)"', second.text)) == 1
    assert (await get(service, "/?skip=-1")).status_code == 422


async def test_details_show_everything_and_say_how_fresh(service: Service, config: Sql) -> None:
    """Facts, tables, pipelines, and where this copy came from."""
    source = add_source(config, name="orders")
    table = add_table(config, source, "lines")
    add_pipeline(config, source, "warehouse", "lake")
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type) "
        "VALUES (%s, 3, 'NEW COLUMN')",
        (table,),
    )
    await service.settled(config)
    page = await get(service, f"/sources/{source}/details")
    text = words(page)
    assert "This copy came from the database" in text
    assert "read live from the tables" in text or "read from the materialized view" in text
    assert "lines 3 3 column added" in text
    assert re.search(r"Paused p0 lake \(\w+\), warehouse \(", text)
    config.execute(
        "UPDATE pipelines_destination SET is_error = true, error_message = '<b>refused', last_error_at = now() "
        "WHERE destination_id = (SELECT id FROM destinations WHERE name = 'lake')"
    )
    await service.settled(config)
    failing = await get(service, f"/sources/{source}/details")
    assert re.search(r"Error p0 lake \(\w+\), warehouse \(\w+\) ✕ lake: <b>refused, ", html.unescape(words(failing)))
    assert "The source database does not answer" in text
    again = await get(service, f"/sources/{source}/details")
    assert "This copy came from" in words(again)
    fresh = await get(service, f"/sources/{source}/details?fresh=true")
    assert "from the database" in words(fresh)


async def test_search_and_sort_work_without_scripts(service: Service, config: Sql) -> None:
    """With links and a form."""
    source = add_source(config)
    tables = {name: add_table(config, source, name, columns) for name, columns in (("aa", 2), ("ab", 9), ("c", 4))}
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, 5)", (tables["c"],)
    )
    await service.settled(config)

    async def listed(query: str) -> list[str]:
        page = await get(service, f"/sources/{source}/details{query}")
        return re.findall(r'<a href="../../sources/tables/\d+">([^<]+)</a>', page.text)

    assert await listed("") == ["aa", "ab", "c"]
    assert await listed("?search=A") == ["aa", "ab"]
    assert await listed("?sort=columns") == ["ab", "c", "aa"]
    assert await listed("?sort=version") == ["c", "aa", "ab"]
    assert await listed("?sort=nonsense") == ["aa", "ab", "c"]


async def test_page_is_validated_compressed_and_closed_to_others(service: Service, config: Sql) -> None:
    """304 on its ETag; zstd and gzip; a policy that lets nothing load from elsewhere."""
    source = add_source(config)
    for number in range(40):
        add_table(config, source, f"table {number}")
    await service.settled(config)
    await service.details(source)
    # The page says since when the source fails: that must not change between the two requests.
    await service.events.until(SourceDown)
    page = await get(service, f"/sources/{source}/details", headers={"Accept-Encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r" style=| on\w+=|<script>|<style", page.text)
    same = await get(service, f"/sources/{source}/details", headers={"If-None-Match": page.headers["etag"]})
    assert same.status_code == 304
    styles = re.findall(r'rel="stylesheet" href="([^"]+)"', page.text)
    scripts = re.findall(r'<script src="([^"]+)"', page.text)
    assert (len(styles), len(scripts)) == (1, 1)
    for path in (*styles, *scripts):
        file = await get(service, path)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
    assert (await get(service, "/assets/000000000000/page.css")).status_code == 404
    assert (await get(service, "/assets/x/..%2flayout.html")).status_code == 404
    # Whatever a URL says, only our own files are held.
    assert assets._held.cache_info().currsize <= len(assets._TYPES)


async def test_many_who_look_at_once_are_drawn_for_once(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty requests share one portrait."""
    source = add_source(config)
    add_table(config, source)
    await service.settled(config)
    await service.details(source)
    drawn: list[str] = []

    def draw(*given: Any) -> portrait.Portrait:
        drawn.append("a portrait")
        return portrait.draw(*given)

    monkeypatch.setattr(live, "draw", draw)
    pages = await asyncio.gather(*(get(service, f"/sources/{source}/details") for _ in range(30)))
    assert {page.status_code for page in pages} == {200}
    assert len(drawn) == 1


async def test_what_is_drawn_anew_is_what_changed(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row of many, whether the table or what is told of its changes is another; the rest is as if drawn anew.

    The texts of the other tables are not even looked at, unless what this process keeps of the page was forgotten.
    """
    source = add_source(config)
    tables = [add_table(config, source, f"table_{number}") for number in range(5)]
    await service.settled(config)
    drawn: list[int] = []
    looked_at: list[int] = []
    parts = templates.macros("parts.html")

    def row(table: dict[str, Any], change: Any) -> Any:
        drawn.append(table["id"])
        return parts.row(table, change)

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return row if name == "row" else getattr(parts, name)

    def watched_digest(text: Any = b"", **more: Any) -> Any:
        if not isinstance(text, bytes):
            looked_at.append(msgspec.json.decode(text)["id"])
        return blake2b(text, **more)

    monkeypatch.setattr(portrait, "macros", lambda _name: Watched())
    monkeypatch.setattr(portrait, "blake2b", watched_digest)
    live_pages = service.app.live
    held, _ = await live_pages.portrait(source)
    assert sorted(drawn) == tables
    for change, seen in (
        ("UPDATE table_metadata_list SET schema_table = '{}' WHERE id = %(table)s", tables[2:3]),
        # What changed lately; the table's version too.
        (
            "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type, created_at) "
            "VALUES (%(table)s, 2, 'UPDATE', now())",
            tables[2:3],
        ),
        # What changed lately alone: the time of that change.
        ("UPDATE history_schema_evolution SET created_at = now() - interval '1 hour' WHERE version_schema = 2", []),
    ):
        drawn.clear()
        looked_at.clear()
        config.execute(change, {"table": tables[2]})
        before, (held, _) = held, await live_pages.portrait(source, reload=True)
        assert (drawn, looked_at) == ([tables[2]], seen), change
        assert f"table-{tables[2]}" in (held.changes_since(before) or {})
        live_pages._portraits.clear()
        drawn.clear()
        anew, _ = await live_pages.portrait(source)
        assert (anew.version, sorted(drawn)) == (held.version, tables)
    # An operator's refresh of the view: texts may be others under the same numbers.
    live_pages._portraits.clear()
    await live_pages.portrait(source, reload=True)
    service.runtime.pages.drop(None)
    drawn.clear()
    looked_at.clear()
    config.execute("UPDATE sources SET pg_username = 'another' WHERE id = %s", (source,))
    await live_pages.portrait(source, reload=True)
    assert (drawn, sorted(looked_at)) == ([], tables)


async def test_what_people_wrote_is_text(service: Service, config: Sql) -> None:
    """Names, hosts and errors are escaped everywhere."""
    script = "<script>alert(1)</script>\"'&"
    source = add_source(config, name=script, pg_host=script, publication_name=script)
    table = add_table(config, source, script)
    add_pipeline(config, source, script)
    config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, %s)", (source, script))
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type, schema_table_new) "
        "VALUES (%s, 2, '<b>', jsonb_build_object(%s::text, jsonb_build_object('real_data_type', %s::text)))",
        (table, script, script),
    )
    await service.settled(config)
    for path in ("/", f"/?search={script}", f"/sources/{source}/details?search={script}", f"/sources/tables/{table}"):
        page = await get(service, path)
        assert page.status_code == 200, page.text
        assert "<script>alert" not in page.text
        assert "<b>" not in page.text
        assert "&lt;script&gt;alert(1)" in page.text


async def test_errors_are_pages_for_people_and_json_for_programs(service: Service) -> None:
    """By the Accept header; under /api always JSON."""
    for path in ("/sources/999/details", "/sources/tables/999", "/nowhere"):
        page = await get(service, path)
        assert page.status_code == 404
        assert page.headers["content-type"].startswith("text/html")
        assert "content-security-policy" in page.headers
        assert "Not found" in page.text
    assert (await get(service, "/sources/x/details")).status_code == 422
    assert (await service.client.get("/sources/999/details")).json()["error"] == "EntityNotFoundError"
    assert (await get(service, "/api/v1/sources/999/details")).json()["error"] == "EntityNotFoundError"


async def test_refresh_without_scripts_is_a_page(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """It lists the changes, table by table and column by column."""
    source = add_source(config, shop_dsn, name="shop")
    first = await service.client.post(f"/sources/{source}/refresh", headers=_BROWSER)
    assert first.status_code == 200
    assert "orders: new table" in words(first)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2), DROP COLUMN note")
    second = await service.client.post(f"/sources/{source}/refresh", headers=_BROWSER)
    assert "orders: version 2 (breaking), dropped note, added total" in words(second)
    third = await service.client.post(f"/sources/{source}/refresh", headers=_BROWSER)
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
    page = await service.client.post(f"/sources/{source}/refresh", headers=_BROWSER)
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
    refused = await service.client.post(f"/sources/{source}/refresh", headers=_BROWSER | {"Sec-Fetch-Site": site})
    assert refused.status_code == 403
    assert service.events.of(SyncPhase) == []


async def test_table_page_shows_every_version_with_its_difference(
    service: Service, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Signs beside the colors; a fragment has the same content without the layout."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders ADD COLUMN total numeric(10, 2), DROP COLUMN note, ALTER id TYPE integer")
    page = await service.sync(source)
    (table,) = page["tables"]
    shown = await get(service, f"/sources/tables/{table['id']}")
    text = words(shown)
    assert "Version 2 current" in text
    assert "+1 \u22121 ~1 : 1 added, 1 dropped, 1 retyped" in text
    assert "note is dropped" in text
    assert "id changes from BIGINT to INTEGER, which may not hold its values" in text
    assert "+ added: total numeric(10,2)" in text
    assert "\u2212 dropped: note" in text
    assert "~ retyped: id integer was bigint" in text
    assert "Version 1" in text
    fragment = await get(service, f"/sources/tables/{table['id']}?fragment=true")
    assert "<html" not in fragment.text
    assert "Version 2" in fragment.text


async def test_long_history_has_pages(service: Service, config: Sql) -> None:
    """Twenty versions at a time, each compared with the one before."""
    table = add_table(config, add_source(config), "t")
    config.execute(
        """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, schema_table_new)
        SELECT %s, n, jsonb_build_object('c' || n, jsonb_build_object('real_data_type', 'INTEGER'))
        FROM generate_series(1, 45) AS n
        """,
        (table,),
    )
    first = await get(service, f"/sources/tables/{table}")
    assert [int(number) for number in re.findall(r"Version (\d+)", first.text)] == list(range(45, 25, -1))
    assert first.text.count("1 added, 1 dropped") >= 19
    assert f"/sources/tables/{table}?before=26" in first.text
    last = await get(service, f"/sources/tables/{table}?before=6")
    assert [int(number) for number in re.findall(r"Version (\d+)", last.text)] == [5, 4, 3, 2, 1]
    assert "Earlier versions" not in last.text


async def test_two_versions_are_compared(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """In one difference, with what breaks a consumer apart; the other way round too."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    for change in ("ADD COLUMN total numeric(10, 2)", "ADD COLUMN paid boolean", "DROP COLUMN note"):
        published.execute(f"ALTER TABLE orders {change}")
        page = await service.sync(source)
    (table,) = page["tables"]
    path = f"/sources/tables/{table['id']}"
    assert 'name="from"' in (await get(service, path)).text
    compared = await get(service, path, params={"from": 1, "to": 4})
    text = words(compared)
    assert "From version 1 to 4 +2 \u22121" in text
    assert "\u2715 Breaking note is dropped" in text
    assert "+ added: total numeric(10,2)" in text
    assert "\u2212 dropped: note" in text
    back = words(await get(service, path, params={"from": 4, "to": 1}))
    assert "total is dropped" in back
    assert "paid is dropped" in back
    assert "Nothing is different." in words(await get(service, path, params={"from": 2, "to": 2}))
    assert (await get(service, path, params={"from": 1, "to": 5})).status_code == 404
    assert (await get(service, path, params={"from": 0, "to": 1})).status_code == 404
    assert (await get(service, path, params={"from": "x"})).status_code == 422


async def test_change_is_marked_with_what_it_did(service: Service, config: Sql, published: Sql, shop_dsn: str) -> None:
    """In the list of tables: the names of the columns, a few of many."""
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("ALTER TABLE orders DROP COLUMN note, ADD a int, ADD b int, ADD c int, ADD d int, ADD e int")
    await service.sync(source)
    text = words(await get(service, f"/sources/{source}/details"))
    assert re.search(
        r"orders 2 6 columns? \w+ \+ added: a, b, c \u2026 \u2212 dropped: note \u2715 breaking \d{4}-", text
    ), text


async def test_lag_over_a_longer_time_is_drawn_by_the_server(service: Service, config: Sql) -> None:
    """Without a script as well; an unknown span is the first one."""
    source = add_source(config)
    config.execute(
        "INSERT INTO source_details_lag (source_id, seen_at, lag_bytes, retained_bytes) "
        "SELECT %s, now() - make_interval(hours => n), n * 1048576, 3221225472 FROM generate_series(0, 150) AS n",
        (source,),
    )
    await service.settled(config)
    page = await get(service, f"/sources/{source}/details", params={"span": "7d"})
    chart = re.search(r'<svg class="lag".*?</svg>', page.text, re.DOTALL)
    assert chart is not None
    assert "at most 150 MB" in chart[0]
    assert ">warning</text>" in chart[0]
    assert len(re.findall(r"<polyline points", chart[0])) == 2
    assert 'href="?span=24h"' in page.text
    fragment = await get(service, f"/sources/{source}/lag", params={"span": "24h"})
    assert "at most 23 MB" in fragment.text or "at most 24 MB" in fragment.text
    assert "last hour" in words(await get(service, f"/sources/{source}/details", params={"span": "year"}))
    assert (await get(service, "/sources/999/lag")).status_code == 404
    config.execute("DELETE FROM source_details_lag WHERE seen_at > now() - interval '2 hours'")
    quiet = await get(service, f"/sources/{source}/lag")
    assert "Nothing was measured in this time." in quiet.text


async def test_without_a_table_the_page_says_why_and_what_to_do(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Never synced, a publication that holds nothing, and none."""
    new, empty = add_source(config), add_source(config, shop_dsn, publication_name='odd"name')
    bare = add_source(config, shop_dsn, publication_name="nothing")
    shop.execute('CREATE PUBLICATION "odd""name"')
    await service.sync(empty)
    assert "Never synced" in words(await get(service, f"/sources/{new}/details"))
    page = await get(service, f"/sources/{empty}/details")
    assert "No table is published" in words(page)
    assert "ALTER PUBLICATION &#34;odd&#34;&#34;name&#34; ADD TABLE" in page.text
    await service.sync(bare)
    assert "CREATE PUBLICATION &#34;nothing&#34; FOR TABLE" in (await get(service, f"/sources/{bare}/details")).text
    assert "No pipeline uses this source" in words(page)


async def test_page_that_cannot_be_shown_now_tries_again(service: Service, config: Sql) -> None:
    """A 503 reloads by itself; a 404 does not."""
    source = add_source(config)
    await service.settled(config)
    config.execute("ALTER VIEW source_details_sources RENAME TO away")
    page = await get(service, f"/sources/{source}/details")
    config.execute("ALTER VIEW away RENAME TO source_details_sources")
    assert page.status_code == 503
    assert '<meta http-equiv="refresh" content="10">' in page.text
    assert "tries again every 10 seconds" in page.text
    assert "http-equiv" not in (await get(service, "/sources/999/details")).text
