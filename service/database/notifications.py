"""Hears notifications on a connection, each in the turn of the event loop in which it arrives.

psycopg's own `notifies()` wakes a task, which runs a turn later, and what it begins another turn later.
"""

import asyncio
from collections.abc import Callable

import psycopg
from psycopg.pq import PGnotify


async def receive(connection: psycopg.AsyncConnection, hear: Callable[[bytes, bytes], bool], seconds: float) -> bool:
    """Calls `hear(channel, payload)` for each notification, for so many seconds; true as soon as `hear` returns true.

    Nothing else may use the connection in the meantime. `hear` is also called for those that come with the answer to a
    later query. Raises psycopg.Error if the connection ends, and what `hear` raises.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[bool] = loop.create_future()
    pgconn, socket = connection.pgconn, connection.fileno()
    failure: Exception | None = None

    def tell(notification: PGnotify) -> None:
        if hear(notification.relname, notification.extra) and not over.done():
            over.set_result(True)

    def read() -> None:
        nonlocal failure
        try:
            pgconn.consume_input()
            while (notification := pgconn.notifies()) is not None:
                tell(notification)
        except Exception as error:
            # Now, not when the task runs: libpq has closed its socket, and another one may get its number first.
            loop.remove_reader(socket)
            failure = error
            if not over.done():
                over.set_result(False)

    pgconn.notify_handler = tell
    loop.add_reader(socket, read)
    try:
        # The socket does not become readable for what came with an answer: libpq has that already.
        read()
        await asyncio.wait({over}, timeout=max(seconds, 0))
    finally:
        if failure is None:
            loop.remove_reader(socket)
    if failure is not None:
        raise failure
    return over.done() and over.result()
