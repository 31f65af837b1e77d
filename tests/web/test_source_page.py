"""The page of a source without scripts: its content, its caching, and what it refuses."""

import html
import re

from service.telemetry.events import SourceDown
from service.web import assets
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.runtime import Service
from tests.fixtures.views import get, words


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
