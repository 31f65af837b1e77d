"""Connections between processes and servers: late, in order, and sometimes swallowed or cut."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

Address = tuple[str, int]


class Server(Protocol):
    """Whatever answers at an address."""

    is_up: bool

    def accept(self, link: "Link", /) -> None:
        """A new connection."""

    def receive(self, link: "Link", data: bytes) -> None:
        """Data that has arrived."""

    def forget(self, link: "Link", /) -> None:
        """A connection that its client has closed."""


class Network:
    """`faults` is the share of messages that take longer than anybody waits."""

    def __init__(self, rng: random.Random, latency_s: float, faults: float) -> None:
        self.rng = rng
        self.latency = latency_s
        self.faults = faults
        self.servers: dict[Address, Server] = {}
        # In the order in which they were made: the order of a set is not up to the seed.
        self.links: dict[Link, None] = {}
        self.swallows: set[Address] = set()
        self._numbers = 0

    def delay(self, rng: random.Random) -> float:
        """How long one message takes."""
        if self.faults and rng.random() < self.faults:
            return 0.1 + rng.random()
        return rng.expovariate(1 / self.latency)

    async def connect(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
        """A transport and its protocol; OSError if nobody listens there."""
        self._numbers += 1
        rng = random.Random(f"{self.rng.random()} {self._numbers}")
        await asyncio.sleep(self.delay(rng))
        if (host, port) in self.swallows:
            await asyncio.sleep(3600)
        server = self.servers.get((host, port))
        if server is None or not server.is_up:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        link = Link(self, server, (host, port), factory(), rng)
        link.protocol.connection_made(link)
        server.accept(link)
        return link, link.protocol

    def cut(self, server: Server) -> None:
        """Ends every connection to a server, as its end does."""
        for link in sorted((link for link in self.links if link.server is server), key=lambda link: link.number):
            link.cut()


class Link(asyncio.Transport):
    """One connection, as its client sees it."""

    def __init__(self, network: Network, server: Server, address: Address, protocol: Any, rng: random.Random) -> None:
        super().__init__()
        self.network, self.server, self.address, self.protocol = network, server, address, protocol
        self.number = network._numbers
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._there = self._back = 0.0
        self._is_closed = False
        self.is_cut = self.is_silent = False
        # What the server keeps of a connection.
        self.prefix: bytes | None = None
        self.is_subscribed = False
        self.hears_itself = True
        self.is_asking = False
        self.received = b""
        network.links[self] = None

    def write(self, data: Any) -> None:
        if self._is_closed or self.is_cut or self.is_silent or self.address in self.network.swallows:
            return
        self._there = max(self._there, self._loop.time() + self.network.delay(self._rng))
        self._loop.call_at(self._there, self._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        # What was sent before its client gave up still arrives.
        if not self.is_cut:
            self.server.receive(self, data)

    def answer(self, data: bytes) -> None:
        """Sends data to the client."""
        if self.is_silent or self.address in self.network.swallows:
            return
        self._later(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if not self._is_closed:
            self.protocol.data_received(data)

    def cut(self) -> None:
        """The server's end of the connection is gone; its client notices later."""
        if not self.is_cut:
            self.is_cut = True
            self.network.links.pop(self, None)
            self._later(self._lose)

    def _lose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.protocol.connection_lost(ConnectionResetError("the server is gone"))

    def _later(self, act: Callable[..., None], *args: Any) -> None:
        self._back = max(self._back, self._loop.time() + self.network.delay(self._rng))
        self._loop.call_at(self._back, act, *args)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.network.links.pop(self, None)
            self._loop.call_soon(self.protocol.connection_lost, None)
            self.server.forget(self)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002  # as asyncio's
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002  # so
        return

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def can_write_eof(self) -> bool:
        return False
