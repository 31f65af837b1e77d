"""Notifications as the listener receives them, on both event loops."""

import asyncio
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

import psycopg
import pytest
from psycopg.pq import ConnStatus

from service.database import notifications
from tests.fixtures.databases import Sql
from tests.fixtures.proxy import reset_when_closed


async def listening(dsn: str) -> psycopg.AsyncConnection:
    """A connection that listens on the channel `told`."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    await connection.execute("LISTEN told")
    return connection


def test_each_is_heard_in_the_turn_in_which_it_arrives(runner: asyncio.Runner, config_dsn: str, config: Sql) -> None:
    """No task has to wake for it. The one that is waited for ends the wait, and so does time."""
    heard: list[tuple[bytes, bytes]] = []
    tasks: list[Any] = []

    def hear(channel: bytes, payload: bytes) -> bool:
        heard.append((channel, payload))
        tasks.append(asyncio.current_task())
        return payload == b"last"

    async def run() -> None:
        async with await listening(config_dsn) as connection:
            waiting = asyncio.ensure_future(notifications.receive(connection, hear, 60))
            await asyncio.sleep(0)
            config.execute("SELECT pg_notify('told', payload) FROM (VALUES ('1'), ('last'), ('3')) AS t (payload)")
            assert await waiting
            assert heard == [(b"told", payload) for payload in (b"1", b"last", b"3")]
            assert tasks == [None] * 3
            assert not await notifications.receive(connection, hear, 0.001)
            # Not lost, although nobody receives: it comes with the answer.
            await connection.execute("NOTIFY told, 'own'")
            assert heard[3:] == [(b"told", b"own")]

    runner.run(run())


def test_end_of_the_connection_and_a_failure_to_hear_end_the_wait(
    runner: asyncio.Runner, config_dsn: str, config: Sql
) -> None:
    """At once, and not when the time is over."""

    def fail(*_: bytes) -> bool:
        raise LookupError

    async def run() -> None:
        async with await listening(config_dsn) as connection:
            for statement, error in (
                ("SELECT pg_notify('told', 'this')", LookupError),
                (f"SELECT pg_terminate_backend({connection.info.backend_pid})", psycopg.OperationalError),
            ):
                waiting = asyncio.ensure_future(notifications.receive(connection, fail, 60))
                await asyncio.sleep(0)
                config.execute(statement.encode())
                with pytest.raises(error):
                    await asyncio.wait_for(waiting, 10)

    runner.run(run())


class _Connection:
    """As much of psycopg's as is used, without a server. No notification comes."""

    status = ConnStatus.OK
    notify_handler: Any = None

    def __init__(self) -> None:
        self.pgconn = self

    def notifies(self) -> None:
        return None


def receiving(connection: _Connection) -> Coroutine[Any, Any, bool]:
    """Receives for a minute."""
    return notifications.receive(cast("psycopg.AsyncConnection", connection), lambda _, __: False, 60)


class _Reset(_Connection):
    """A connection that is reset when the last bytes before that have not been read yet."""

    def __init__(self) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._peer = socket.create_connection(server.getsockname())
            self._socket, _ = server.accept()
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def consume_input(self) -> None:
        with suppress(BlockingIOError):
            try:
                self._socket.recv(1024)
            except ConnectionResetError as error:
                raise psycopg.OperationalError from error

    def reset(self) -> None:
        self._peer.send(b"x")
        reset_when_closed(self._peer)
        self._peer.close()

    def close(self) -> None:
        self._socket.close()


def test_reset_behind_the_last_bytes_is_noticed(runner: asyncio.Runner) -> None:
    """uvloop calls the reader once and never again; that call gets the bytes."""

    async def run() -> None:
        connection = _Reset()
        waiting = asyncio.ensure_future(receiving(connection))
        await asyncio.sleep(0)
        connection.reset()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(waiting, 10)
        connection.close()

    runner.run(run())


class _Lost(_Connection):
    """A connection that libpq finds lost when it reads again: it closes the socket, and another one gets its number."""

    def __init__(self) -> None:
        super().__init__()
        self._socket, self._peer = socket.socketpair()
        self._another, self._another_peer = socket.socketpair()
        self._number = self._socket.fileno()
        self._reads = 0
        self._peer.send(b"x")

    def fileno(self) -> int:
        return self._number

    def consume_input(self) -> None:
        self._reads += 1
        if self._reads == 2:
            self._socket.close()
            asyncio.get_running_loop().call_soon(self._open_another)
            raise psycopg.OperationalError("the connection is lost")

    def _open_another(self) -> None:
        os.dup2(self._another.fileno(), self._number)
        self._heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._number, self._heard.set)

    async def close_another(self) -> None:
        """Returns when it has been heard."""
        self._another_peer.send(b"x")
        await asyncio.wait_for(self._heard.wait(), 10)
        asyncio.get_running_loop().remove_reader(self._number)
        for each in (self._another, self._another_peer, self._peer):
            each.close()
        os.close(self._number)


def test_lost_connection_takes_no_other_socket_with_it(runner: asyncio.Runner) -> None:
    """A socket that is opened before the task runs has its number, and goes on being read."""

    async def run() -> None:
        lost = _Lost()
        with pytest.raises(psycopg.OperationalError):
            await receiving(lost)
        await lost.close_another()

    runner.run(run())
