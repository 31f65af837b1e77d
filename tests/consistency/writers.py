"""Writers: each counts one thing up, in transactions of every kind."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tests.consistency.content import SHARED, SOURCES, SYNCED
from tests.consistency.history import Register
from tests.consistency.run import Connection, Refused, Run, change

_MEAN_S = 0.3
_ISOLATION = {"READ COMMITTED": 0.6, "REPEATABLE READ": 0.25, "SERIALIZABLE": 0.15}

REFRESHES = (
    "REFRESH MATERIALIZED VIEW source_details_tables",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY source_details_tables",
    "SELECT source_details_refresh()",
)


@dataclass(slots=True)
class Writer:
    """`write` makes the next number the register's, wherever it is shown; `number` is the last one.

    A share of the transactions is held open, for `longest_hold_s` at most.
    """

    registers: list[Register]
    write: Callable[[Connection, int], Awaitable[object]]
    held_share: float = 0.2
    longest_hold_s: float = 0.03
    number: int = 0


async def take_turns(run: Run, name: str, writers: list[Writer]) -> None:
    """Writers that share a connection."""
    rng = run.sequence(name)
    async with await run.connect() as connection:
        while await run.pause(rng, _MEAN_S / len(writers)):
            try:
                await _write(run, rng, connection, rng.choice(writers))
            except Refused:
                run.counts["refused"] += 1


async def _write(run: Run, rng: random.Random, connection: Connection, writer: Writer) -> None:
    """One transaction of a random kind."""
    isolation = rng.choices(list(_ISOLATION), list(_ISOLATION.values()))[0]
    role = "replica" if rng.random() < 0.15 else "origin"
    refresh = rng.choice(REFRESHES) if rng.random() < 0.015 else None
    times = rng.choice(("before", "after", "before and after")) if refresh else "after"
    hold = rng.random() * writer.longest_hold_s if rng.random() < writer.held_share else 0.0

    before, after = writer.number + ("before" in times), writer.number + len(times.split(" and "))
    write = run.begin(writer.registers, after)
    async with run.transaction(connection, write):
        await connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        await connection.execute(f"SET LOCAL session_replication_role = {role}")
        if rng.random() < 0.5:
            # An old snapshot is taken here; others commit before it is used.
            await connection.execute("SELECT pg_sleep(%s)", (hold,))
        if refresh and "before" in times:
            await writer.write(connection, before)
        if refresh:
            await connection.execute(refresh)
        if "after" in times:
            await writer.write(connection, after)
        await asyncio.sleep(hold)
    writer.number = after
    run.counts.update([isolation, role])
    if refresh:
        run.counts[f"write {times} a refresh"] += 1


def lanes() -> Iterable[tuple[str, list[Writer]]]:
    """The writers by the connections that they share, each with a name."""
    rest = [source for source in SOURCES if source != SYNCED]
    writers = {
        "name": [_names(source) for source in SOURCES],
        "schema": [_schemas(source) for source in rest],
        "version": [_versions(source) for source in rest[::2]],
        "cascade": [_cascades(source) for source in rest[1::3]],
    }
    for kind, alike in writers.items():
        for lane in range(0, len(alike), 4):
            yield f"{kind} {lane}", alike[lane : lane + 4]
    for kind in SHARED[:2]:
        yield kind, [destination(kind, SOURCES)]
    yield "bulk", [_bulk(rest)]


def _names(source: int) -> Writer:
    async def write(connection: Connection, number: int) -> None:
        await change(connection, "UPDATE sources SET name = %s WHERE id = %s", f"{source}/{number}", source)

    return Writer([(source, "name")], write)


def _schemas(source: int) -> Writer:
    async def write(connection: Connection, number: int) -> None:
        await change(
            connection,
            """
            UPDATE table_metadata_list
            SET schema_table = jsonb_build_array(jsonb_build_object('column_name', 'c', 'default_value', %s::text))
            WHERE source_id = %s AND table_name = 'fixed'
            """,
            str(number),
            source,
        )

    return Writer([(source, "schema")], write)


def _versions(source: int) -> Writer:
    async def write(connection: Connection, number: int) -> None:
        await change(
            connection,
            """
            INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema)
            SELECT id, %s FROM table_metadata_list WHERE source_id = %s AND table_name = 'fixed'
            """,
            number,
            source,
        )

    return Writer([(source, "version")], write)


def _cascades(source: int) -> Writer:
    """A table is dropped and another one made."""

    async def write(connection: Connection, number: int) -> None:
        await change(
            connection, "DELETE FROM table_metadata_list WHERE source_id = %s AND table_name LIKE 'gone/%%'", source
        )
        await change(
            connection,
            "INSERT INTO table_metadata_list (source_id, table_name) VALUES (%s, %s)",
            source,
            f"gone/{number}",
        )

    return Writer([(source, "cascade")], write)


def destination(kind: str, sources: Iterable[int]) -> Writer:
    """A destination is renamed; these sources may lead there."""

    async def write(connection: Connection, number: int) -> None:
        await change(
            connection, "UPDATE destinations SET name = %s WHERE name LIKE %s", f"{kind}/{number}", f"{kind}/%"
        )

    return Writer([(source, kind) for source in sources], write)


def _bulk(sources: list[int]) -> Writer:
    """All sources in one statement."""

    async def write(connection: Connection, number: int) -> None:
        await change(connection, "UPDATE sources SET pg_database = %s WHERE id <> %s", f"bulk/{number}", SYNCED)

    return Writer([(source, "bulk") for source in sources], write)
