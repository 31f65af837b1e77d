"""Operators: they refresh, alter tables, delete keys, sync, and cut the listeners off."""

import asyncio
import contextlib
from time import monotonic
from typing import LiteralString

import redis.exceptions

from tests.consistency.content import SHARED, SOURCES, SYNCED, UNSEEN
from tests.consistency.run import Connection, Refused, Run
from tests.consistency.writers import REFRESHES

_ALTERED = SHARED[2]
# Long enough to be granted now and then, short enough that nobody starves behind it.
_LOCK_TIMEOUT = "100ms"
# Without the event trigger a refresh is found when the service polls: every 5 s, and a refresh may be under way then.
_FOUND_WITHIN_S = 20.0

_EXTENDED = ("sources", "pipelines", "pipelines_destination", "destinations", "table_metadata_list", "wal_monitor")
_REWRITTEN = "history_schema_evolution"
_ALTERATIONS: dict[str, list[list[LiteralString]]] = {
    # A table that is rewritten looks empty to every older snapshot.
    "rewrite a table": [
        [f"ALTER TABLE {_REWRITTEN} ALTER COLUMN id TYPE bigint"],
        [f"ALTER TABLE {_REWRITTEN} ALTER COLUMN id TYPE integer"],
    ],
    "fill a table again": [
        [
            f"LOCK TABLE {_REWRITTEN}",
            f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM {_REWRITTEN}",
            f"TRUNCATE {_REWRITTEN}",
            f"INSERT INTO {_REWRITTEN} SELECT * FROM kept",
        ]
    ],
    "add a column": [
        [f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS noise float DEFAULT random()"] for table in _EXTENDED
    ],
    "drop a column": [[f"ALTER TABLE {table} DROP COLUMN IF EXISTS noise"] for table in _EXTENDED],
}


async def refresh(run: Run, operator: int) -> None:
    """By hand, again and again."""
    rng = run.sequence(f"operator {operator}")
    async with await run.connect() as connection:
        while await run.pause(rng, 1):
            with contextlib.suppress(*Refused):
                # Of two concurrent refreshes the later one fails.
                async with connection.transaction():
                    await connection.execute(rng.choice(REFRESHES))
                    await connection.execute("SELECT pg_sleep(%s)", (rng.random() * 0.02,))


async def refresh_after_unseen_writes(run: Run) -> None:
    """A write that no trigger sees is promised to readers once a refresh by hand after it has been noticed."""
    rng = run.sequence("unseen")
    number = 0
    async with await run.connect() as connection:
        while await run.pause(rng, 1):
            number += 1
            write = run.begin([(UNSEEN, "unseen")], number)
            await connection.execute(
                "UPDATE wal_monitor SET error_message = %s WHERE source_id = %s", (f"unseen/{number}", UNSEEN)
            )
            while not await _refreshed(connection, rng.choice(REFRESHES)):
                pass
            await _wait_until_noticed(connection)
            async with run.transaction(connection, write):
                run.counts["write unseen"] += 1


async def _refreshed(connection: Connection, statement: str) -> bool:
    try:
        await connection.execute(statement)
    except Refused:
        return False
    return True


async def _wait_until_noticed(connection: Connection) -> None:
    """Returns when the view's present content has been noted: this refresh, or a later one."""
    deadline = monotonic() + _FOUND_WITHIN_S
    while not await _is_noticed(connection):
        assert monotonic() < deadline, "a refresh by hand was not found"
        await asyncio.sleep(0.05)


async def _is_noticed(connection: Connection) -> bool:
    cursor = await connection.execute(
        """
        SELECT EXISTS (
            SELECT
            FROM source_details_tables AS v
            INNER JOIN source_details_refresh_state AS s
                ON v.view_xid = s.view_xid AND v.view_snapshot::text = s.view_snapshot::text
        )
        """
    )
    return await cursor.fetchone() == (True,)


async def alter(run: Run) -> None:
    """DDL on the tables that pages are read from."""
    rng = run.sequence("alterations")
    async with await run.connect() as connection:
        await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        while await run.pause(rng, 0.5):
            kind = rng.choice(list(_ALTERATIONS))
            with contextlib.suppress(*Refused):
                async with connection.transaction():
                    for statement in rng.choice(_ALTERATIONS[kind]):
                        await connection.execute(statement)
                    await connection.execute("SELECT pg_sleep(%s)", (rng.random() * 0.02,))
                run.counts[kind] += 1


async def alter_values(run: Run) -> None:
    """DDL that changes what pages show. No trigger of a table sees that; an event trigger does."""
    rng = run.sequence("altered values")
    number = 0
    async with await run.connect() as connection:
        cursor = await connection.execute("SELECT FROM pg_event_trigger WHERE evtname = 'source_details_altered'")
        if not cursor.rowcount:
            return
        await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        while await run.pause(rng, 0.5):
            write = run.begin([(source, _ALTERED) for source in SOURCES], number + 1)
            with contextlib.suppress(*Refused):
                async with run.transaction(connection, write):
                    await connection.execute(
                        "ALTER TABLE destinations ALTER COLUMN name TYPE text "
                        f"USING regexp_replace(name, '^{_ALTERED}/.*', '{_ALTERED}/{number + 1}')"
                    )
                number += 1
                run.counts["write by DDL"] += 1


async def sync(run: Run) -> None:
    """A source changes and is synced."""
    rng = run.sequence("sync")
    number = 0
    async with await run.connect(run.rig.shop_dsn) as shop, await run.connect() as connection:
        while await run.pause(rng, 0.5):
            number += 1
            await shop.execute(f"ALTER TABLE orders ALTER COLUMN note SET DEFAULT '{number}'")
            write = run.begin([(SYNCED, "sync")], number)
            response = await rng.choice(run.rig.processes).client.post(f"/api/v1/sources/{SYNCED}/refresh")
            if response.status_code != 200:
                # Another program wrote the same rows; the next sync tells more.
                run.history.withdraw(write)
                continue
            async with run.transaction(connection, write):
                run.counts["sync"] += 1


async def delete_keys(run: Run) -> None:
    """As with redis-cli."""
    rng = run.sequence("deletions")
    while await run.pause(rng, 0.2):
        with contextlib.suppress(redis.exceptions.RedisError):
            await asyncio.to_thread(run.rig.delete, f"source_details:{rng.choice(SOURCES)}")


async def cut_listeners(run: Run) -> None:
    """All of them at once."""
    rng = run.sequence("cuts")
    async with await run.connect() as connection:
        while await run.pause(rng, 1.5):
            await connection.execute(
                """
                SELECT pg_terminate_backend(pid)
                FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'rosetta-source-details-listener'
                """
            )


async def disturb_redis(run: Run) -> None:
    """What Redis has to bear, if anything."""
    rng = run.sequence("disturbances")
    while run.disturb is not None and await run.pause(rng, 0.5):
        await asyncio.to_thread(run.disturb, rng)
