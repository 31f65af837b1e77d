"""A connection to a source that reads only so many bytes: whatever answers there may never stop sending."""

import socket
import struct
import sys
from collections.abc import Generator
from contextlib import suppress
from time import thread_time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.rows import DictRow

if sys.platform != "win32":
    import fcntl
    import termios

T = TypeVar("T")

# Where the kernel's tcp_info has the bytes that a connection has received, read or not (linux/tcp.h, from 4.1 on).
_BYTES_RECEIVED = 128
# A server greets with its certificates and some settings.
_MOST_AT_LOGIN = 64 * 2**10
# What libpq itself does with an answer: it compares each setting that a server sends with all before it.
_MOST_WORK_S = 1.0
_TOO_COSTLY = "what it sends takes too long to read"


class UnreadableText(str):
    """A text of a source that is not UTF-8, as a SQL_ASCII database may hold; what cannot be read is U+FFFD."""

    __slots__ = ()


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        try:
            return bytes(data).decode()
        except UnicodeDecodeError:
            return UnreadableText(bytes(data).decode(errors="replace"))


class SourceConnection(psycopg.AsyncConnection[DictRow]):
    """libpq keeps a whole message, and a whole answer, in memory, whatever its size: what arrives is counted before it
    reads. What it does with it is bounded as well, in seconds of this thread, which all share.

    Texts that are not UTF-8 are UnreadableText. A connection that received too much is closed.
    """

    _allowed = _left = _MOST_AT_LOGIN
    _received = 0
    _work_s = 0.0

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        # psycopg's own step of connecting. A server may send any number of messages before it is ready.
        steps = super()._connect_gen(conninfo)
        left, received = _MOST_AT_LOGIN, 0
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                # A socket of its own for each address that it tries.
                arrived, received = _arrived(wanted[0], received)
                left -= max(arrived, 0)
                if left < 0:
                    raise _too_much(_MOST_AT_LOGIN)
                wanted = steps.send(ready)
        except StopIteration as end:
            end.value._received = received
            return end.value
        finally:
            steps.close()

    def read_any_text(self) -> None:
        """Makes texts that are not UTF-8 readable."""
        for name in ("text", "name", "json"):
            self.adapters.register_loader(name, _TextLoader)

    def allow(self, most_bytes: int) -> None:
        """From now on, so many bytes may arrive. Then: psycopg.OperationalError, and the connection is closed."""
        self._left = self._allowed = most_bytes
        self._work_s = 0.0

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's, counting what arrives."""
        return await super().wait(self._counted(gen), interval, timeout)

    def _counted(self, steps: PQGen[T]) -> PQGen[T]:
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                arrived, self._received = _arrived(self.pgconn.socket, self._received)
                self._left -= arrived
                if self._left < 0 or self._work_s > _MOST_WORK_S:
                    self.pgconn.finish()
                    raise _too_much(self._allowed) if self._left < 0 else psycopg.OperationalError(_TOO_COSTLY)
                began = thread_time()
                wanted = steps.send(ready)
                self._work_s += thread_time() - began
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the outcome of `steps`
        finally:
            steps.close()


def _arrived(descriptor: int, before: int) -> tuple[int, int]:
    """How many bytes have arrived since the connection had received `before`, and how many it has received now.

    Where the system does not count them, those that wait are counted, each time that some of them are read: too many.
    """
    if sys.platform == "linux":
        with suppress(OSError, struct.error):
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
            try:
                info = probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
            finally:
                probe.detach()
            (received,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
            if received:
                return received - before, received
    if sys.platform == "win32":
        return 0, 0
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))[0]), 0


def _too_much(most: int) -> psycopg.OperationalError:
    size = f"{most // 2**20} MB" if most >= 2**20 else f"{most // 2**10} kB"
    return psycopg.OperationalError(f"it sends more than {size} in one answer")
