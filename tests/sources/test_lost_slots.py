"""Slots of a real server: one is lost when it was foretold, and the transaction that holds one is found."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
import pytest

from service.demo.reaper import Reaper
from service.demo.servers import Postgres
from service.sources import remedies
from service.sources.questions import Answers, Limits, ask
from service.sources.source_connection import SourceConnection
from service.sources.wal_monitor import held_by
from service.telemetry.events import WalRound
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_source
from tests.fixtures.runtime import Service, Start

pytestmark = pytest.mark.operations


@pytest.fixture
def limited() -> Iterator[Postgres]:
    """A source whose slots are lost when they keep more than 64 MB."""
    with Reaper() as reaper:
        server = Postgres(
            reaper,
            "limited",
            settings={
                "wal_level": "logical",
                "max_slot_wal_keep_size": "64MB",
                "max_wal_size": "64MB",
                "max_prepared_transactions": "5",
            },
        )
        server.start()
        yield server
        server.stop()


async def test_slot_is_lost_when_it_was_foretold(start: Start, config: Sql, limited: Postgres) -> None:
    """Within a third of the time. An idle reader's lag in seconds stays near zero meanwhile."""
    source = add_source(config, limited.dsn(), publication_name="p", replication_name="dead")
    with psycopg.connect(limited.dsn(), autocommit=True) as connection:
        connection.execute("CREATE PUBLICATION p FOR ALL TABLES")
        connection.execute("SELECT pg_create_logical_replication_slot('dead', 'pgoutput')")
    is_over = asyncio.Event()

    async def write() -> None:
        """Two megabytes a second: a busy machine makes up for what it writes late."""
        began, written = monotonic(), 0
        async with await psycopg.AsyncConnection.connect(limited.dsn(), autocommit=True) as connection:
            while not is_over.is_set():
                await connection.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
                await connection.execute("CHECKPOINT")
                written += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(is_over.wait(), began + written / 2 - monotonic())

    writing = asyncio.create_task(write())
    try:
        service: Service = await start(wal_interval_s=1)
        foretold: list[tuple[float, float]] = []
        seen = 0
        while True:
            await service.events.until(WalRound, after=seen)
            seen = len(service.events.events)
            row = config.execute("SELECT * FROM source_details_lag ORDER BY seen_at DESC LIMIT 1").fetchone()
            assert row is not None
            if row["wal_status"] == "lost":
                break
            if row["lost_in_s"] is not None:
                foretold.append((monotonic(), row["lost_in_s"]))
        lost_at = monotonic()
    finally:
        is_over.set()
        await writing
    assert foretold
    told_at, in_s = foretold[0]
    assert in_s > 5
    assert lost_at - told_at == pytest.approx(in_s, rel=1 / 3)
    health = (await service.details(source)).json()["meta"]["health"]
    assert health["level"] == "error"


@pytest.mark.parametrize("kind", ["session", "prepared"])
async def test_transaction_that_holds_a_slot_is_found(limited: Postgres, kind: str) -> None:
    """Its id is the oldest that the slot needs, once the slot's reader has confirmed what came before it."""
    parameters = {"slot": "held", "held_s": 0}
    with (
        psycopg.connect(limited.dsn(), autocommit=True) as reader,
        psycopg.connect(limited.dsn(), autocommit=True) as writer,
        psycopg.connect(limited.dsn(), autocommit=True) as other,
    ):
        reader.execute("CREATE PUBLICATION p FOR ALL TABLES")
        other.execute("CREATE TABLE t (id int)")
        reader.execute("SELECT pg_create_logical_replication_slot('held', 'pgoutput')")

        async def asked() -> dict[str, Any]:
            connection = await SourceConnection.connect(limited.dsn(), autocommit=True)
            async with connection:
                found = (await ask(connection, ["remote_holder"], parameters, Limits(10))).one("remote_holder")
            assert found is not None
            return found

        assert (await asked())["kind"] is None
        writer.execute("BEGIN")
        writer.execute("INSERT INTO t VALUES (1)")
        (pid,) = writer.execute("SELECT pg_backend_pid()").fetchone() or ()
        if kind == "prepared":
            writer.execute("PREPARE TRANSACTION 'a''b'")
        async with asyncio.timeout(30):
            while (found := await asked())["kind"] is None:
                other.execute("INSERT INTO t VALUES (2)")
                other.execute("SELECT pg_log_standby_snapshot()")
                reader.execute(
                    "SELECT count(*) FROM pg_logical_slot_get_binary_changes('held', NULL, NULL, "
                    "'proto_version', '1', 'publication_names', 'p')"
                )
        assert found["kind"] == kind
        assert (found["role"], found["database"]) == ("postgres", "postgres")
        assert (found["pid"], found["gid"]) == ((pid, None) if kind == "session" else (None, "a'b"))
        slot = {"restart_lsn": "0/5", "confirmed_position": 2**31, "restart_position": 5}
        told = held_by(Answers({"remote_holder": [found], "remote_slot": [slot]}), "0/5")
        assert told is not None
        assert told["since"].endswith("+00:00")
        if kind == "prepared":
            assert other.execute(remedies.end_prepared("a'b")).fetchone() is not None
            other.execute("ROLLBACK PREPARED 'a''b'")
        else:
            writer.execute("ROLLBACK")


async def test_transaction_that_the_role_may_not_see_is_said_to_be_hidden(limited: Postgres) -> None:
    """If the slot keeps so much before what is confirmed that one must hold it. The remedy makes it visible."""
    with psycopg.connect(limited.dsn(), autocommit=True) as owner:
        owner.execute("CREATE ROLE plain LOGIN PASSWORD 'x'")
        owner.execute("SELECT pg_create_logical_replication_slot('held', 'pgoutput')")

        async def is_hidden() -> bool:
            connection = await SourceConnection.connect(limited.dsn(user="plain", password="x"), autocommit=True)
            async with connection:
                answers = await ask(connection, ["remote_holder"], {"slot": "held", "held_s": 0}, Limits(10))
            slot = {"restart_lsn": "0/5", "confirmed_position": 2**31, "restart_position": 5}
            server = {"is_standby": False}

            def told(before: str = "0/5", **changes: Any) -> dict[str, Any] | None:
                rows = {"remote_slot": [slot | changes], "remote_server": [server | changes]}
                return held_by(Answers(answers.rows | rows), before)

            # Kept for its reader, or for less time, or by a transaction of the primary.
            assert told(confirmed_position=9) is told("0/4") is told(is_standby=True) is None
            return told() == {"kind": "hidden"}

        assert await is_hidden()
        owner.execute(remedies.see_sessions("plain"))
        assert not await is_hidden()
