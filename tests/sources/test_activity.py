"""The activity of tables, from the statistics that a source keeps anyway, once per round of the WAL monitor."""

import asyncio
import html
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.sources.address import SourceAddress
from service.sources.answer_shapes import MOST_ACTIVE, check
from service.sources.questions import Limits, ask
from service.telemetry.events import Evicted, TaskFailed, WalRound
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start, until

pytestmark = pytest.mark.operations

Round = Callable[[], Awaitable[None]]


@pytest.fixture
async def watched(start: Start, config: Sql) -> tuple[Service, Round]:
    """A service, and what makes it look at every source once."""
    service: Service = await start(wal_interval_s=3600)

    async def look() -> None:
        before = len(service.events.of(WalRound))
        config.execute("UPDATE source_details_wal_round SET due_at = now()")
        await until(lambda: len(service.events.of(WalRound)) > before)

    await look()
    return service, look


async def known(service: Service, source: int) -> dict[str, dict[str, Any]]:
    """What is known of each table."""
    response = await service.client.get(f"/api/v1/sources/{source}/activity")
    assert response.status_code == 200, response.text
    return {table["table_name"]: table for table in response.json()["tables"]}


def flush(source: Sql) -> None:
    """Makes the session's counters known at once, as they are a second later otherwise."""
    if source.info.server_version >= 150000:
        source.execute("SELECT pg_stat_force_next_flush()")
    source.execute("SELECT")


async def test_writes_rows_and_size_are_those_of_the_source(
    watched: tuple[Service, Round], config: Sql, published: Sql, shop_dsn: str, rosetta: Command
) -> None:
    """Nothing is notified, and no page is evicted. A table that is not written has a rate of 0, and no last write."""
    service, look = watched
    published.execute("CREATE TABLE quiet (id int PRIMARY KEY)")
    published.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    published.execute("CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (1) TO (1000)")
    source = add_source(config, shop_dsn, name="shop")
    await service.sync(source)
    await service.settled(config)
    await look()
    first = await known(service, source)
    assert set(first) == {"orders", "quiet", "part_1"}
    assert first["orders"]["rows"] is first["orders"]["bytes"] is first["orders"]["writes_a_minute"] is None
    await service.settled(config)
    evictions = len([event for event in service.events.of(Evicted) if event.cause == "notification"])
    published.execute("INSERT INTO orders SELECT n FROM generate_series(1, 1000) AS n")
    published.execute("UPDATE orders SET note = 'x' WHERE id <= 100")
    published.execute("DELETE FROM orders WHERE id <= 100")
    published.execute("INSERT INTO parts SELECT n FROM generate_series(1, 10) AS n")
    published.execute("VACUUM ANALYZE orders")
    flush(published)
    # The count before was a minute ago; rounds in between that were refused are no counts.
    config.execute("UPDATE source_details_activity_round SET counted_at = now() - interval '60 s'")
    await look()
    second = await known(service, source)
    assert list(second) == ["orders", "part_1", "quiet"]
    orders = second["orders"]
    assert (orders["rows"], orders["writes_a_minute"]) == (900, pytest.approx(1200, rel=0.1))
    assert 900 * 30 < orders["bytes"] < 900 * 200
    assert second["part_1"]["writes_a_minute"] == pytest.approx(10, rel=0.1)
    assert (second["quiet"]["writes_a_minute"], second["quiet"]["last_write_at"]) == (0, None)
    assert orders["last_write_at"] is not None
    page = html.unescape(re.sub(r"<[^>]*>", " ", (await service.client.get(f"/sources/{source}/activity")).text))
    assert re.search(r"orders\s+1,[12]\d\d\s+900", page)
    told = rosetta("activity", "shop", "--json")
    assert json.loads(told.stdout)["tables"][0]["table_name"] == "orders"
    assert re.search(r"^orders +1,[12]\d\d +900 +", rosetta("activity", "shop").stdout, re.MULTILINE)
    await look()
    assert (await known(service, source))["orders"]["writes_a_minute"] == 0
    assert (await known(service, source))["orders"]["last_write_at"] == orders["last_write_at"]
    await service.settled(config)
    assert len([e for e in service.events.of(Evicted) if e.cause == "notification"]) == evictions + 1  # the mark's own


async def test_counters_that_go_back_say_no_rate(
    watched: tuple[Service, Round], config: Sql, published: Sql, shop_dsn: str
) -> None:
    """They were reset, or another server answers. The next round knows again; a dropped table is forgotten."""
    service, look = watched
    published.execute("CREATE TABLE gone (id int PRIMARY KEY)")
    source = add_source(config, shop_dsn)
    await service.sync(source)
    published.execute("INSERT INTO orders SELECT n FROM generate_series(1, 100) AS n")
    flush(published)
    await look()
    published.execute("SELECT pg_stat_reset()")
    published.execute("DROP TABLE gone")
    published.execute("INSERT INTO orders VALUES (1001)")
    flush(published)
    await look()
    orders = (await known(service, source))["orders"]
    assert (orders["writes_a_minute"], orders["last_write_at"]) == (None, None)
    await look()
    assert (await known(service, source))["orders"]["writes_a_minute"] == 0
    row = config.execute("SELECT string_agg(table_name, ',') AS names FROM source_details_activity").fetchone()
    assert row == {"names": "orders"}


async def test_rows_that_say_nothing_new_are_not_written(
    watched: tuple[Service, Round], config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Most tables of most sources rest: a round over ten thousand of them must not write as many rows."""
    service, look = watched
    shop.execute("CREATE TABLE orders (id int); CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn)
    await service.sync(source)
    for _ in range(3):
        await look()
    before = config.execute("SELECT table_name, xmin::text, writes_a_minute FROM source_details_activity").fetchall()
    assert [row["writes_a_minute"] for row in before] == [0]
    await look()
    after = config.execute("SELECT table_name, xmin::text, writes_a_minute FROM source_details_activity").fetchall()
    assert after == before
    assert (await known(service, source))["orders"]["writes_a_minute"] == 0


async def test_partitions_of_a_root_are_summed(
    watched: tuple[Service, Round], config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """A root has no rows of its own."""
    service, look = watched
    if shop.info.server_version < 130000:
        pytest.skip("no publish_via_partition_root")
    shop.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    shop.execute("CREATE TABLE low PARTITION OF parts FOR VALUES FROM (1) TO (100)")
    shop.execute("CREATE TABLE high PARTITION OF parts FOR VALUES FROM (100) TO (1000) PARTITION BY RANGE (id)")
    shop.execute("CREATE TABLE higher PARTITION OF high FOR VALUES FROM (100) TO (1000)")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE parts WITH (publish_via_partition_root = true)")
    source = add_source(config, shop_dsn)
    await service.sync(source)
    await look()
    shop.execute("INSERT INTO parts SELECT n FROM generate_series(1, 300) AS n")
    shop.execute("ANALYZE low")
    shop.execute("ANALYZE higher")
    flush(shop)
    await look()
    tables = await known(service, source)
    assert list(tables) == ["parts"]
    assert (tables["parts"]["rows"], tables["parts"]["bytes"]) == (300, 2 * 8192)


async def test_looking_waits_for_no_session_that_alters_a_table(
    watched: tuple[Service, Round], config: Sql, published: Sql, shop_dsn: str
) -> None:
    """It reads catalogs and counters alone."""
    service, _ = watched
    source = add_source(config, shop_dsn)
    row = await service.runtime.database.fetch_one("source_connection", id=source)
    assert row is not None
    with published.transaction():
        published.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        found, _ = await service.runtime.connections.use(
            SourceAddress.of(row),
            lambda connection: ask(
                connection,
                ["remote_activity"],
                {"publication": "rosetta", "most_active": MOST_ACTIVE},
                Limits(5, lock_timeout_s=0.1),
            ),
            budget_s=10,
        )
    assert not found.refused
    answer = found.one("remote_activity")
    assert answer is not None
    assert [table[0] for table in json.loads(answer["tables"])] == ["orders"]


@pytest.mark.parametrize(
    "tables",
    [
        "{}", "no", "[[]]", '[["a", 1, 2, 3]]', '[["a", 1, 2, null, 4]]', '[["a", -1, 2, 3, 4]]', '[["", 1, 2, 3, 4]]',
        '[["a\\u0000", 1, 2, 3, 4]]', '[["a", 1e99, 2, 3, 4]]', '[["a", 9223372036854775808, 2, 3, 4]]',
        f'[["{"ä" * 129}", 1, 2, 3, 4]]', '[["a", 1, 2, 3, 4], ["a", 1, 2, 3, 4]]',
        json.dumps([[str(n), 1, 2, 3, 4] for n in range(10_001)]),
    ],
    ids=range(13),
)  # fmt: skip
def test_answer_that_is_none_is_refused(tables: str) -> None:
    """Whatever listens there may answer anything: twice the same table, or a million of them."""
    check("remote_activity", {"tables": '[["a", null, null, 3, 4]]', "basis": "x"})
    with pytest.raises(ValueError, match=r"."):
        check("remote_activity", {"tables": tables, "basis": "x"})


async def test_two_rounds_at_once_do_not_deadlock(service: Service, config: Sql) -> None:
    """A round that takes longer than its interval overlaps the next. Nor does a deleted source end a round."""
    source = add_source(config)
    names = [f"t{n}" for n in range(300)]

    async def record(order: list[str], writes: int) -> None:
        tables = json.dumps([[name, None, None, writes, 1] for name in order])
        await service.runtime.database.fetch_all("record_activity", id=source, tables=tables, basis="x")

    await record(names, 0)
    for turn in range(1, 10):
        await asyncio.gather(record(names, turn), record(names[::-1], turn))
    config.execute("DELETE FROM sources")
    await record(names, 99)
    assert config.execute("SELECT FROM source_details_activity").fetchall() == []


async def test_partition_that_is_attached_was_not_written(
    watched: tuple[Service, Round], config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """Nor do counts of another server, or from before a restart, compare with those of this one."""
    service, look = watched
    if shop.info.server_version < 130000:
        pytest.skip("no publish_via_partition_root")
    shop.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    shop.execute("CREATE TABLE low (id int)")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE parts WITH (publish_via_partition_root = true)")
    source = add_source(config, shop_dsn)
    await service.sync(source)
    await look()
    shop.execute("INSERT INTO low SELECT n FROM generate_series(1, 50) AS n")
    shop.execute("ALTER TABLE parts ATTACH PARTITION low FOR VALUES FROM (1) TO (100)")
    flush(shop)
    await look()
    parts = (await known(service, source))["parts"]
    assert (parts["writes_a_minute"], parts["last_write_at"]) == (None, None)
    config.execute("UPDATE source_details_activity_round SET basis = 'another'")
    shop.execute("INSERT INTO parts VALUES (51)")
    flush(shop)
    await look()
    parts = (await known(service, source))["parts"]
    assert (parts["writes_a_minute"], parts["last_write_at"]) == (None, None)


async def test_activity_that_cannot_be_recorded_costs_nothing_else(
    watched: tuple[Service, Round], config: Sql, published: Sql, shop_dsn: str
) -> None:
    """A right is missing, say: the slot's state of this and the other sources is recorded all the same."""
    service, look = watched
    assert published
    sources = [add_source(config, shop_dsn), add_source(config, shop_dsn)]
    config.execute("REVOKE ALL ON source_details_activity FROM rosetta_service")
    await look()
    rows = config.execute("SELECT source_id FROM wal_monitor ORDER BY source_id").fetchall()
    assert [row["source_id"] for row in rows] == sources
    assert {event.task for event in service.events.of(TaskFailed)} == {f"activity {source}" for source in sources}
