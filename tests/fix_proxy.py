"""A TCP proxy on loopback that a test can cut, or make swallow everything while it stays connected."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest


class Proxy:
    """Forwards to `host:port`. `connections` counts those accepted so far."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.connections = 0
        self._target = host, port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listens, on the same port every time."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Ends every connection and refuses new ones, until `start` is called again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    def swallow(self) -> None:
        """Keeps connections open, and accepts new ones, but lets nothing through in either direction."""
        self._flowing.clear()

    def flow(self) -> None:
        """Ends `swallow`; what was held back arrives."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with suppress(OSError):
            remote_reader, remote_writer = await asyncio.open_connection(*self._target)
            self._writers.add(remote_writer)
            await asyncio.gather(self._pump(reader, remote_writer), self._pump(remote_reader, writer))
            self._writers.discard(remote_writer)
        self._writers.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[[str, int], Awaitable[Proxy]]]:
    """Starts proxies."""
    async with AsyncExitStack() as stack:

        async def start(host: str, port: int) -> Proxy:
            made = Proxy(host, port)
            await made.start()
            stack.push_async_callback(made.cut)
            return made

        yield start
