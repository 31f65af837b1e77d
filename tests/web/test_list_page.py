"""The page of all sources without scripts: what it shows, its order, its pages."""

import re

from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service
from tests.fixtures.views import get, words


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
