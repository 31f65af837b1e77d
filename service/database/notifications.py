"""Hears notifications on a connection, each in the turn of the event loop in which it arrives.

psycopg's own `notifies()` wakes a task, which runs a turn later, and what it begins another turn later.
"""

import asyncio
from collections.abc import Callable

import psycopg
from psycopg.pq import ConnStatus, PGnotify

_LOOK_AGAIN_S = 0.1


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
            if pgconn.status == ConnStatus.BAD:
                raise psycopg.OperationalError("the connection is lost")
        except Exception as error:
            # Now, not when the task runs: libpq has closed its socket, and another one may get its number first.
            loop.remove_reader(socket)
            failure = error
            if not over.done():
                over.set_result(False)

    pgconn.notify_handler = tell
    deadline = loop.time() + seconds
    while not over.done() and (left := deadline - loop.time()) > 0:
        loop.add_reader(socket, read)
        try:
            # The socket does not become readable for what came with an answer: libpq has that already.
            read()
            # Again and again: uvloop calls a reader once more if the connection was reset, and then never again. That
            # call may have read what had come before the reset.
            await asyncio.wait({over}, timeout=min(left, _LOOK_AGAIN_S))
        finally:
            if failure is None:
                loop.remove_reader(socket)
    if failure is not None:
        raise failure
    return over.done() and over.result()
