"""Pages are made of fragments that the process keeps: what is sent, and that none is ever another's."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.pages.fragments import NONE, Fragments, KeptFragments
from tests.fixtures.databases import Sql
from tests.fixtures.gates import Gate
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service

HEAD = b',"meta":'


@pytest.fixture
def sent(service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The tables whose fragments the last read of the database has sent."""
    pages = service.runtime.pages.filling
    read, last = pages._read_row, list[Any]()

    async def watched(*arguments: Any) -> Any:
        row = await read(*arguments)
        last[:] = [row]
        return row

    monkeypatch.setattr(pages, "_read_row", watched)

    def names() -> list[str]:
        fragments = [fragment.decode() for fragment in last[0]["fragments"].values()]
        return [fragment.partition('"table_name":"')[2].partition('"')[0] for fragment in fragments]

    return names


async def whole(service: Service, source: int) -> bytes:
    """The page up to its `meta`, of which nothing was kept."""
    head = await service.runtime.pages.read_head(source, None)
    assert head is not None
    return head


async def shown(service: Service, source: int) -> bytes:
    """The page up to its `meta`, as a reader gets it after a change that was heard of."""
    return (await service.details(source)).content.partition(HEAD)[0]


async def test_a_change_costs_what_it_changes(service: Service, config: Sql, sent: Callable[[], list[str]]) -> None:
    """The fragment of the table that has changed is sent alone: whether the others are read live or from the view."""
    source = add_source(config)
    tables = {name: add_table(config, source, name) for name in ("a", "b", "c")}
    await service.settled(config)
    assert await shown(service, source) == await whole(service, source)
    add_version = """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
        SELECT %(id)s, coalesce(max(version_schema), 1) + 1
        FROM history_schema_evolution
        WHERE table_metadata_list_id = %(id)s
    """
    for read_from in ("live", "view"):
        config.execute(add_version, {"id": tables["b"]})
        await service.settled(config)
        if read_from == "view":
            assert await service.runtime.refresher.wait_until_covered(60)
        answer = await service.runtime.pages.read(source)
        assert answer.computed is not None
        assert sent() == ["b"]
        assert answer.page.body.partition(HEAD)[0] == await whole(service, source)
    config.execute("UPDATE sources SET name = 'renamed'")
    await service.settled(config)
    assert b'"name":"renamed"' in await shown(service, source)
    assert sent() == []


CHANGES = {
    "columns": "UPDATE table_metadata_list SET schema_table = '{}' WHERE table_name = 'b'",
    "order of the columns": "UPDATE table_metadata_list SET column_order = '{column_3}' WHERE table_name = 'b'",
    "name": "UPDATE table_metadata_list SET table_name = 'z' WHERE table_name = 'a'",
    "two tables change their names": """
        UPDATE table_metadata_list SET table_name = 'x' WHERE table_name = 'a';
        UPDATE table_metadata_list SET table_name = 'a' WHERE table_name = 'b';
        UPDATE table_metadata_list SET table_name = 'b' WHERE table_name = 'x'
    """,
    "published": "UPDATE table_metadata_list SET is_published = NOT is_published WHERE table_name = 'b'",
    "removed": "DELETE FROM table_metadata_list WHERE table_name = 'a'",
    "a version": """
        INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
        SELECT table_metadata_list_id, max(version_schema) + 1 FROM history_schema_evolution GROUP BY 1
    """,
    "a version taken back": "DELETE FROM history_schema_evolution",
    "replaced under its id": """
        WITH gone AS (DELETE FROM table_metadata_list WHERE table_name = 'c' RETURNING id, source_id)
        SELECT id, source_id INTO TEMPORARY kept FROM gone;
        INSERT INTO table_metadata_list (id, source_id, table_name, schema_table)
        SELECT id, source_id, 'c', '{}' FROM kept
    """,
    "moved to another source": """
        UPDATE table_metadata_list SET source_id = (SELECT max(id) FROM sources) WHERE table_name = 'a'
    """,
    "rewritten, all of them": "ALTER TABLE table_metadata_list ALTER COLUMN created_at TYPE timestamptz(3)",
}


@pytest.mark.parametrize("what", CHANGES)
async def test_kept_fragments_give_the_page_of_the_database(service: Service, config: Sql, what: str) -> None:
    """After each kind of change, twice, and with the other source's page as well."""
    source, other = add_source(config), add_source(config)
    first, *_ = [add_table(config, source, name) for name in ("a", "b", "c")]
    add_table(config, other, "d")
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, 5)", (first,)
    )
    for _ in range(2):
        await service.settled(config)
        for read in (source, other):
            assert await shown(service, read) == await whole(service, read)
        config.execute("DROP TABLE IF EXISTS kept")
        config.execute(CHANGES[what].encode())
    await service.settled(config)
    for read in (source, other):
        assert await shown(service, read) == await whole(service, read)


async def test_numbers_of_another_server_count_for_nothing(service: Service, config: Sql) -> None:
    """A promoted standby, or a restored database, may have given a row's number to another row."""
    source = add_source(config)
    add_table(config, source, "a")
    await service.settled(config)
    await service.details(source)
    kept = service.runtime.pages.fragments
    here = kept.of(source)
    false = here.body.replace(b'"a"', b'"?"')

    def keep(epoch: str) -> None:
        kept.keep(source, replace(here, epoch=epoch, body=false), kept.generation)

    keep(here.epoch)
    config.execute("UPDATE sources SET name = 'other'")
    await service.settled(config)
    # It is what was kept that is shown,
    assert b'"table_name":"?"' in await shown(service, source)
    keep("1 1")
    config.execute("UPDATE sources SET name = 'third'")
    await service.settled(config)
    # but not that of another server.
    assert await shown(service, source) == await whole(service, source)


async def test_other_functions_make_other_fragments(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that hears late of an upgrade would store the former texts where the others have evicted theirs."""
    source = add_source(config)
    add_table(config, source, "a")
    await service.settled(config)
    await service.details(source)
    pages = service.runtime.pages
    # It has not heard of anything yet.
    monkeypatch.setattr(pages, "drop", lambda _: None)
    config.execute("""
        DO $$
        BEGIN
            EXECUTE 'CREATE OR REPLACE VIEW source_details_live AS '
                || replace(pg_get_viewdef('source_details_live'), '"table_name"', '"a table"');
        END
        $$
    """)
    config.execute("SELECT source_details_refresh()")
    page = (await pages.reload(source)).page.body
    assert b'"a table":"a"' in page
    assert page.partition(HEAD)[0] == await whole(service, source)
    # A refresh of the service's own changes no text.
    kept = pages.fragments.of(source)
    config.execute("SELECT source_details_refresh(evict => false)")
    await pages.reload(source)
    assert pages.fragments.of(source).epoch == kept.epoch


async def test_fragments_of_before_a_reconnect_are_not_kept(
    service: Service, config: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have crashed and lost its last transactions, whose numbers it then gives to others."""
    source = add_source(config)
    add_table(config, source, "a")
    await service.settled(config)
    pages = service.runtime.pages
    gate = Gate(monkeypatch, pages.filling, "compute", after=True)
    reading = asyncio.ensure_future(pages.read(source))
    await gate.until_reached()
    await pages.evict(None, "reconnect")
    gate.open()
    await reading
    assert pages.fragments.of(source) is NONE
    await pages.reload(source)
    assert pages.fragments.of(source) is not NONE
    await pages.evict(None, "reconnect")
    assert pages.fragments.of(source) is NONE


def test_text_is_named_within_its_epoch_and_generation() -> None:
    """The same numbers may name another text after a failover, an upgrade, or a crash that this process has seen."""
    kept = KeptFragments(1000)

    def names(epoch: str) -> set[object]:
        kept.keep(1, Fragments(epoch, [1], [2], [3], b"x", [0, 2]), kept.generation)
        return {name for name, _ in kept.of(1).named_texts()}

    before = names("1 1")
    assert names("1 1") == before
    assert not names("1 2") & before
    kept.forget()
    assert not names("1 1") & before


def test_kept_fragments_are_bounded_in_bytes() -> None:
    """The least recently used go; more than the limit are not kept."""
    kept = KeptFragments(1000)

    def some(size: int) -> Fragments:
        return Fragments("1 1", [1], [1], [1], b"x" * size, [0, size])

    for number in range(5):
        kept.keep(number, some(200), 0)
        assert kept.of(0) is not NONE
    assert [number for number in range(5) if kept.of(number) is not NONE] == [0, 4]
    assert kept.bytes <= 1000
    kept.keep(0, some(1000), 0)
    assert kept.of(0) is NONE
    kept.keep(1, Fragments("1 1", [1, 1], [1, 1], [1, 1], b"xxxx", [0, 2, 4]), 0)
    assert kept.of(1) is NONE, "two tables of one id"
    kept.forget()
    assert kept.bytes == 0


async def test_row_that_no_refresh_has_seen_names_no_stored_text(
    service: Service, config: Sql, sent: Callable[[], list[str]]
) -> None:
    """A write that fired no trigger: the page is old until a refresh, and not for longer."""
    source = add_source(config)
    add_table(config, source, "a")
    add_table(config, source, "b")
    await service.settled(config)
    assert await service.runtime.refresher.wait_until_covered(60)
    config.execute("ALTER TABLE table_metadata_list DISABLE TRIGGER USER")
    await service.settled(config)
    service.runtime.refresher.request()
    assert await service.runtime.refresher.wait_until_covered(60)
    config.execute("UPDATE table_metadata_list SET schema_table = '{}' WHERE table_name = 'b'")
    for _ in range(2):
        answer = await service.runtime.pages.reload(source)
        assert answer.computed is not None
        assert answer.computed.meta["read_from"] == "view"
    # What nobody may keep is sent again.
    assert sent() == ["b"]
    with config.transaction():
        config.execute("SELECT set_config('source_details.own_refresh', 'on', true)")
        config.execute("REFRESH MATERIALIZED VIEW source_details_tables")
    page = (await service.runtime.pages.reload(source)).page.body
    assert page.partition(HEAD)[0] == await whole(service, source)
    assert b'"table_name":"b","version":1,"schema_table":[]' in page


async def test_order_of_the_page_is_that_of_the_names(service: Service, config: Sql) -> None:
    """A name with a dot is quoted where it is a key, and stands where it would without."""
    source = add_source(config)
    for name in ("b", "a.b", "a"):
        add_table(config, source, name)
    await service.settled(config)
    for _ in range(2):
        tables = (await service.details(source)).json()["tables"]
        assert [table["table_name"] for table in tables] == ["a", "a.b", "b"]
        assert await service.runtime.refresher.wait_until_covered(60)
        await service.runtime.pages.reload(source)
