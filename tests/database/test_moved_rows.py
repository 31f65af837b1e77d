"""Rows that move to another source, or are linked, while others write below them: no page stays as it was."""

from threading import Thread
from typing import Any

import pytest
import redis as sync_redis
from pydantic import SecretStr

from service.telemetry.events import Evicted
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_pipeline, add_source, add_table
from tests.fixtures.notifications import listening
from tests.fixtures.runtime import Service, Start, until


def test_moved_table_reaches_both_sources(config: Sql, config_dsn: str, filled: int) -> None:
    """The source that it left and the one that it moved to; a changed source id is noticed as well."""
    second = add_source(config)
    with listening(config_dsn) as payloads:
        config.execute("UPDATE table_metadata_list SET source_id = %s, table_name = 'moved'", (second,))
    assert sorted(payloads) == sorted([str(filled), str(second)])


MOVES = [
    (
        "UPDATE history_schema_evolution SET version_schema = 9",
        "UPDATE table_metadata_list SET source_id = {there} WHERE source_id = {here}",
    ),
    (
        "WITH added AS (INSERT INTO destinations (name) VALUES ('added') RETURNING id) "
        "INSERT INTO pipelines_destination (pipeline_id, destination_id) "
        "SELECT p.id, d.id FROM pipelines AS p, added AS d WHERE p.source_id = {here}",
        "UPDATE pipelines SET source_id = {there} WHERE source_id = {here}",
    ),
    (
        "UPDATE destinations SET name = 'renamed'",
        "UPDATE pipelines SET source_id = {there} WHERE source_id = {here}",
    ),
    (
        "UPDATE destinations SET name = 'renamed'",
        "UPDATE pipelines_destination SET pipeline_id = (SELECT id FROM pipelines WHERE source_id = {there})",
    ),
]


def shown(page: dict[str, Any]) -> tuple[list[int], list[str]]:
    """What the changes above change."""
    return [table["version"] for table in page["tables"]], page["destinations"]


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("is_moved_first", [True, False])
@pytest.mark.parametrize(("change", "move"), MOVES)
async def test_change_below_what_moves_reaches_where_it_went(
    service: Service, config: Sql, config_dsn: str, change: str, move: str, is_moved_first: bool, role: str
) -> None:
    """Neither transaction sees the other, nor waits for it; whichever commits last, no page stays as it was."""
    here, there = add_source(config), add_source(config)
    table = add_table(config, here)
    config.execute(
        "INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema) VALUES (%s, 1)", (table,)
    )
    add_pipeline(config, here, "warehouse")
    config.execute("INSERT INTO pipelines (name, source_id) VALUES ('p', %s)", (there,))
    await service.settled(config)
    with connect(config_dsn) as changing, connect(config_dsn) as moving:
        for writer in (changing, moving):
            writer.execute("BEGIN")
            writer.execute("SET LOCAL lock_timeout = '2s'")
            writer.execute(f"SET LOCAL session_replication_role = {role}")
        changing.execute(change.format(here=here, there=there))
        moving.execute(move.format(here=here, there=there))
        for writer in (moving, changing) if is_moved_first else (changing, moving):
            await service.details(there)
            await service.details(here)
            writer.execute("COMMIT")
            await service.settled(config)
    for source in (here, there):
        assert shown((await service.details(source)).json()) == shown(
            (await service.details(source, headers={"Cache-Control": "no-cache"})).json()
        )
        assert shown((await service.details(source)).json()) != ([], []) or source == here


@pytest.mark.parametrize("has_redis", [True, False])
async def test_page_of_what_moved_is_not_kept_while_an_older_transaction_runs(
    start: Start, config: Sql, config_dsn: str, redis: sync_redis.Redis, has_redis: bool
) -> None:
    """It is read live, by every reader. Once the other transaction has ended, whoever waits for news is told."""
    service = await (start() if has_redis else start(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    here, there = add_source(config), add_source(config)
    add_pipeline(config, here)
    config.execute("INSERT INTO destinations (name) VALUES ('lake')")
    await service.settled(config)
    with connect(config_dsn) as other:
        other.execute("BEGIN")
        other.execute(
            "INSERT INTO pipelines_destination (pipeline_id, destination_id) "
            "SELECT p.id, d.id FROM pipelines AS p, destinations AS d"
        )
        config.execute("UPDATE pipelines SET source_id = %s", (there,))
        await service.settled(config)
        for _ in range(2):
            assert "fwd=miss" in (await service.details(there)).headers["cache-status"]
        assert not redis.exists(f"source_details:{there}")
        seen = len(service.events.events)
        other.execute("COMMIT")
    await service.events.until(Evicted, after=seen, which=lambda event: there in (event.sources or ()))
    # Told twice: of the link, and once the log has nothing left, that the move is settled.
    await until(lambda: not config.execute("SELECT FROM source_details_log").fetchall())
    await service.settled(config)
    assert (await service.details(there)).json()["destinations"] == ["lake"]
    assert "hit" in (await service.details(there)).headers["cache-status"]


def test_two_writers_below_one_row_that_both_move_it_do_not_deadlock(config: Sql, config_dsn: str, filled: int) -> None:
    """Without triggers the second would wait for the first, and no more."""
    config.execute("INSERT INTO destinations (name) VALUES ('a'), ('b')")
    link = (
        "INSERT INTO pipelines_destination (pipeline_id, destination_id) "
        "SELECT p.id, d.id FROM pipelines AS p, destinations AS d WHERE d.name = %s"
    )
    there = add_source(config)
    with connect(config_dsn) as first, connect(config_dsn) as second:
        for writer, name in ((first, "a"), (second, "b")):
            writer.execute("BEGIN")
            writer.execute(link, (name,))
        first.execute("UPDATE pipelines SET source_id = %s", (there,))
        moving = Thread(target=second.execute, args=("UPDATE pipelines SET name = 'moved'",))
        moving.start()
        first.execute("COMMIT")
        moving.join()
        second.execute("COMMIT")
    assert filled
    row = config.execute("SELECT name, source_id FROM pipelines").fetchone()
    assert row == {"name": "moved", "source_id": there}


@pytest.mark.parametrize("is_renamed_first", [True, False])
@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_destination_renamed_while_it_is_linked_is_told_to_whoever_uses_it(
    service: Service, config: Sql, config_dsn: str, role: str, is_renamed_first: bool
) -> None:
    """Neither sees the other; in whatever order they change and commit, the page shows the new name."""
    # With the constraint the two wait for each other, with our triggers and without.
    config.execute("ALTER TABLE destinations DROP CONSTRAINT IF EXISTS destinations_name_key")
    source = add_source(config)
    config.execute("INSERT INTO pipelines (name, source_id) VALUES ('p', %s)", (source,))
    config.execute("INSERT INTO destinations (name) VALUES ('old')")
    await service.settled(config)
    link = (
        "INSERT INTO pipelines_destination (pipeline_id, destination_id) "
        "SELECT p.id, d.id FROM pipelines AS p, destinations AS d"
    )
    for is_linked_last in (True, False):
        with connect(config_dsn) as renaming, connect(config_dsn) as linking:
            for writer in (renaming, linking):
                writer.execute("BEGIN")
                writer.execute("SET LOCAL lock_timeout = '2s'")
                writer.execute(f"SET LOCAL session_replication_role = {role}")
            steps = [(renaming, "UPDATE destinations SET name = name || '!'"), (linking, link)]
            for writer, statement in steps if is_renamed_first else reversed(steps):
                writer.execute(statement)
            for writer in (renaming, linking) if is_linked_last else (linking, renaming):
                await service.details(source)
                writer.execute("COMMIT")
                await service.settled(config)
        name = config.execute("SELECT name FROM destinations").fetchone()
        assert name is not None
        assert (await service.details(source)).json()["destinations"] == [name["name"]]
        config.execute("DELETE FROM pipelines_destination")
        await service.settled(config)
