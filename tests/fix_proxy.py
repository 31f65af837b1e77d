"""A TCP proxy on loopback that a test can cut, slow down, or make swallow everything while it stays connected."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Any

import pytest

_SSL_REQUEST_BYTES = 8


class Proxy:
    """Forwards to `host:port`. `accepted` counts the connections so far, `delay_s` is what each packet waits, `said` is
    all that its clients sent, by connection.

    With `tls` it speaks TLS to its clients and forwards plainly; `is_asked` where they ask for TLS first, as
    PostgreSQL's do.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None, *, is_asked: bool = False) -> None:
        self._tls = tls
        self._is_asked = is_asked
        self.delay_s = 0.0
        self.said: list[bytearray] = []
        self.port = 0
        self.accepted = 0
        self._target = host, port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens, on the same port every time."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=None if self._is_asked else self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Ends every connection and refuses new ones, until `start` is called again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        connections = tuple(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def swallow(self) -> None:
        """Keeps connections open, and accepts new ones, but lets nothing through in either direction."""
        self._flowing.clear()

    def flow(self) -> None:
        """Ends `swallow`; what was held back arrives."""
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            # Accepted before the cut, told of after it.
            writer.transport.abort()
            return
        self.accepted += 1
        writers = [writer]
        task = asyncio.ensure_future(self._forward(reader, writers))
        self._connections.add(task)

        # Here and not in the task itself, which does nothing at all where the cut comes before its first step.
        def end(_: object) -> None:
            for each in writers:
                each.transport.abort()
            self._connections.discard(task)

        task.add_done_callback(end)

    async def _forward(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        (writer,) = writers
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._flowing.wait()
            if self._tls is not None and self._is_asked:
                await reader.readexactly(_SSL_REQUEST_BYTES)
                writer.write(b"S")
                await writer.start_tls(self._tls)
            remote_reader, remote_writer = await asyncio.open_connection(*self._target)
            writers.append(remote_writer)
            self.said.append(bytearray())
            await asyncio.gather(
                self._pump(reader, remote_writer, self.said[-1]), self._pump(remote_reader, writer, None)
            )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytearray | None) -> None:
        # What is under way does not keep back what follows it: a long line, not a narrow one.
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.ensure_future(self._deliver(under_way, writer))
        try:
            while data := await reader.read(65536):
                under_way.put_nowait((monotonic() + self.delay_s, data))
                if said is not None:
                    said += data
            under_way.put_nowait((monotonic(), b""))
            await delivering
        finally:
            delivering.cancel()

    async def _deliver(self, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while (item := await under_way.get())[1]:
            await self._flowing.wait()
            await asyncio.sleep(max(item[0] - monotonic(), 0))
            writer.write(item[1])
            await writer.drain()
        writer.write_eof()


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[..., Awaitable[Proxy]]]:
    """Starts proxies."""
    async with AsyncExitStack() as stack:

        async def start(host: str, port: int, **options: Any) -> Proxy:
            made = Proxy(host, port, **options)
            await made.start()
            stack.push_async_callback(made.cut)
            return made

        yield start
