"""What of a published table will not arrive: read at a real source, and said in a line."""

import pytest

from service.sources.traps import traps
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service

pytestmark = pytest.mark.operations


async def test_each_trap_is_one_line_on_the_page_and_in_the_terminal(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, rosetta: Command
) -> None:
    """None for a table that arrives as it is, nor for one that was not looked at."""
    shop.execute(
        """
        CREATE TABLE plain (id bigint PRIMARY KEY, title text);
        CREATE TABLE filtered (id bigint PRIMARY KEY);
        CREATE TABLE listed (id bigint PRIMARY KEY, kept text, secret text, other text);
        CREATE TABLE computed (id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
        CREATE TABLE keyless (note text);
        ALTER TABLE keyless REPLICA IDENTITY FULL;
        CREATE PUBLICATION rosetta
        FOR TABLE plain, filtered WHERE (id > 5), listed (id, kept), computed, keyless;
        """
    )
    source = add_source(config, shop_dsn, name="shop", publication_name="rosetta")
    await service.sync(source)
    lines = {
        "filtered": "only rows where (id > 5) arrive",
        "listed": "secret, other do not arrive (not in the publication's list)",
        "computed": "twice does not arrive (generated)",
        "keyless": "it has no key: UPDATE and DELETE name a row by all of its old values",
    }
    shown = rosetta("sources", "show", "shop").stdout.splitlines()
    told = [line for line in shown if ": " in line and line.partition(":")[0] in (*lines, "plain")]
    assert sorted(told) == sorted(f"{table}: {line}" for table, line in lines.items())
    page = (await service.client.get(f"/sources/{source}/details")).text
    for line in lines.values():
        assert page.count(f"<small>{line.replace('>', '&gt;').replace(chr(39), '&#39;')}</small>") == 1


async def test_partitions_and_their_root_are_told_apart(
    service: Service, config: Sql, shop: Sql, shop_dsn: str
) -> None:
    """A partition arrives under one of two names; a table that is none has no such line."""
    if shop.info.server_version < 130000:
        pytest.skip("no publish_via_partition_root")
    shop.execute(
        """
        CREATE TABLE plain (id int PRIMARY KEY);
        CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF parts FOR VALUES FROM (1) TO (100);
        CREATE PUBLICATION leaves FOR TABLE plain, parts;
        CREATE PUBLICATION roots FOR TABLE plain, parts WITH (publish_via_partition_root = true);
        """
    )
    lines = {}
    for publication in ("leaves", "roots"):
        source = add_source(config, shop_dsn, publication_name=publication)
        page = await service.sync(source)
        lines[publication] = {table["table_name"]: traps(table) for table in page["tables"]}
        assert [table["version"] for table in page["tables"]] == [1, 1]
    assert lines == {
        "leaves": {"low": ["it is a partition: its rows arrive under its own name, not its parent's"], "plain": []},
        "roots": {
            "parts": ["its partitions arrive under its name: that one was truncated, detached or dropped does not"],
            "plain": [],
        },
    }
