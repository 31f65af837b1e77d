"""The session's own connection to a primary: it hears whose keys change, and carries the evictions.

Redis reports every change of our keys on it (client-side caching in broadcast mode, over RESP3:
https://redis.io/docs/latest/develop/reference/client-side-caching/), but for those that come over it: a process has
dropped its page before it evicts it from Redis. Commands do not wait for each other's answers.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.concurrency import end

_CHANNEL = "__redis__:invalidate"
_SILENCE_S = 1.0

Key = str | bytes


class Link:
    """`make` makes a connection that speaks this version of the protocol, and is not open yet.

    Raises `values.FAILURES`. After one of those but ResponseError the connection is of no more use.
    """

    def __init__(self, make: Callable[[int], AbstractConnection], timeout_s: float) -> None:
        self._make = make
        self._timeout = timeout_s
        self.connection = make(3)
        # Ends with what has ended the connection.
        self.hearing: asyncio.Task[None] | None = None
        # In the order in which they were sent. None is a PING.
        self._asked: deque[asyncio.Future[Any] | None] = deque()

    async def open(self, prefix: str, on_invalid: Callable[[list[bytes] | None], None]) -> bool:
        """Connects, and returns whether `on_invalid` will be called with each key of this prefix that changes.

        It is called with None after FLUSHALL.
        """
        is_tracking = await self._connect() and await self._track(prefix)
        # Each question has its own timeout from now on. With this one redis-py would send each from a task.
        self.connection.socket_timeout = None
        self.hearing = asyncio.ensure_future(self._hear(on_invalid))
        return is_tracking

    async def _connect(self) -> bool:
        try:
            await self.connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it bare
        except ResponseError:
            # A proxy in between that knows no HELLO: pages are then kept in Redis only.
            self.connection = self._make(2)
            await self.connection.connect()  # type: ignore[no-untyped-call]  # so
            return False
        return True

    async def _track(self, prefix: str) -> bool:
        # As redis-py's own cache does it.
        self.connection._parser.set_invalidation_push_handler(_itself)  # type: ignore[attr-defined]  # RESP3's
        try:
            # Nothing comes on the channel. But Redis ends a subscriber that does not read what it is sent
            # (client-output-buffer-limit pubsub), and no other client.
            await self._tell("SUBSCRIBE", _CHANNEL)
            # Awaits the answer: whether changes are reported must be known before anything is read.
            await self._tell("CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP", "PREFIX", prefix)
        except ResponseError:
            # Not allowed.
            return False
        return True

    async def _tell(self, *command: str) -> None:
        await self.connection.send_command(*command)
        await self.connection.read_response(push_request=True)

    async def run(self, *command: Key) -> Any:
        """The answer to a command."""
        (answer,) = await self.run_all([command])
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def run_all(self, commands: Sequence[Sequence[Key]]) -> list[Any]:
        """The answers to commands that are sent together; one may be a ResponseError."""
        self._check()
        packed = self.connection.pack_commands(commands)
        asked: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future() for _ in commands]
        # Nothing is awaited before they are sent: another's commands in between would get their answers.
        self._asked.extend(asked)
        try:
            async with asyncio.timeout(self._timeout):
                await self.connection.send_packed_command(packed, check_health=False)
                answers = [await answer for answer in asked]
        except TimeoutError:
            raise RedisTimeoutError(f"no answer within {self._timeout * 1000:.0f} ms") from None
        for answer in answers:
            if isinstance(answer, RedisConnectionError):
                raise answer
        return answers

    def _check(self) -> None:
        # redis-py would open a connection again that has ended, and nothing would be heard on it.
        if self.hearing is None or self.hearing.done() or not self.connection.is_connected:
            raise _ended()

    async def _hear(self, on_invalid: Callable[[list[bytes] | None], None]) -> None:
        try:
            await self._keep_hearing(on_invalid)
        finally:
            while self._asked:
                self._answer(_ended())

    async def _keep_hearing(self, on_invalid: Callable[[list[bytes] | None], None]) -> None:
        is_pinged = False
        while True:
            try:
                answer = await self.connection.read_response(timeout=_SILENCE_S, push_request=True)
            except ResponseError as error:
                answer = error
            if answer is None:
                if is_pinged:
                    raise RedisTimeoutError("no answer to PING")
                is_pinged = True
                self._check()
                self._asked.append(None)
                async with asyncio.timeout(self._timeout):
                    await self.connection.send_command("PING", check_health=False)
                continue
            is_pinged = False
            if not isinstance(answer, list):
                self._answer(answer)
            elif answer[0] == b"invalidate":
                on_invalid(answer[1])

    def _answer(self, answer: Any) -> None:
        if not self._asked:
            raise RedisConnectionError("Redis has answered what nobody asked")
        asked = self._asked.popleft()
        if asked is None:
            if isinstance(answer, ResponseError):
                raise answer
        elif not asked.done():
            # Errors as well: nobody may be left to retrieve an exception.
            asked.set_result(answer)


async def close(links: Collection[Link]) -> None:
    """Closes the connections. A command that has no answer yet raises RedisConnectionError."""
    try:
        # Before they are closed: a reader that goes on would open its connection again.
        await end([link.hearing for link in links if link.hearing is not None])
    finally:
        for link in links:
            await link.connection.disconnect(nowait=True)


def _ended() -> RedisConnectionError:
    return RedisConnectionError("the session's connection has ended")


async def _itself(push: list[Any]) -> list[Any]:
    return push
