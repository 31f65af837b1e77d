"""Finds the servers of Redis: one server, the primary that Sentinels name, or the primaries of a cluster."""

import random
import re
from typing import Any
from weakref import WeakKeyDictionary

import redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from service.cache.link import Link
from service.cache.primaries import Client, Cluster, Primaries, SinglePrimary, TopologyError
from service.cache.values import FAILURES
from service.config import redis_url
from service.config.redis_url import Address, RedisUrl
from service.errors import StartError

_CONNECTIONS = 64
# Eight are left for what the session asks, which must not queue behind readers until Redis seems lost.
MOST_AT_ONCE = _CONNECTIONS - 8


_RUN_ID = re.compile(rb"^run_id:(\w{1,64})", re.MULTILINE)


class OtherServerError(RedisConnectionError):
    """A new connection reached another server than the session's."""

    def __init__(self) -> None:
        super().__init__("another server answers at this address than when the session began")


class Pool(BlockingConnectionPool):
    """A pool of connections to one and the same server, which leaks none.

    An address may move from one server to another (a virtual IP, a Service of Kubernetes), and a server may be
    restarted with older data. A new connection may notice it before the session's own connections do, which are still
    open. So each connection asks its server's run_id once, when it is made, and is used only if the session follows
    that server. Without the right to INFO the run_id is not known, and not compared.

    A command may be connecting while its pool is closed (the process stops, a cluster has lost a primary); redis-py's
    own pool would take that connection back and never close it.
    """

    _is_closed = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, redis_connect_func=self._greet)
        self._run_ids: WeakKeyDictionary[AbstractConnection, bytes | None] = WeakKeyDictionary()
        self._followed: bytes | None = None

    def follow(self, connection: AbstractConnection | None) -> None:
        """Uses connections to this connection's server only; to any server for None."""
        self._followed = None if connection is None else self._run_ids.get(connection)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        await super().ensure_connection(connection)
        if self._is_open(connection) and self._is_followed(connection):
            return
        # It may be left over from an earlier session.
        await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)
        if not self._is_followed(connection):
            raise OtherServerError

    def _is_open(self, connection: AbstractConnection) -> bool:
        # It may have been reset while it was idle, which redis-py does not look for.
        return connection._writer is not None and not connection._writer.is_closing()

    def _is_followed(self, connection: AbstractConnection) -> bool:
        return self._followed is None or self._run_ids.get(connection) == self._followed

    async def _greet(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        try:
            await connection.send_command("INFO", "server", check_health=False)
            found = _RUN_ID.search(await connection.read_response())
        except ResponseError:
            found = None
        self._run_ids[connection] = found[1] if found else None

    def link(self) -> Link:
        """A session's own connection to this server; not open yet."""

        def make(protocol: int) -> AbstractConnection:
            return self.connection_class(**(self.connection_kwargs | {"protocol": protocol}))

        return Link(make, self.connection_kwargs["socket_timeout"])

    async def aclose(self) -> None:
        self._is_closed = True
        await super().aclose()

    async def release(self, connection: AbstractConnection) -> None:
        if self._is_closed:
            await connection.disconnect(nowait=True)
        await super().release(connection)


def server_options(url: RedisUrl) -> dict[str, Any]:
    """The options of redis-py's connections to Redis. StartError if it does not understand one."""
    try:
        return dict(parse_url(url.server))
    except ValueError as error:
        # redis-py names the option, never its value.
        raise StartError(f"ROSETTA_REDIS_URL: {error}") from None


def sentinel_options(url: RedisUrl, given: dict[str, Any]) -> dict[str, Any]:
    """The options of redis-py's clients for Sentinels: their own login, and TLS as for Redis."""
    tls = {name: value for name, value in given.items() if name.startswith("ssl_")} | {"ssl": True}
    return url.sentinel_login | (tls if url.is_tls else {})


class Deployment:
    """Finds the primaries of a Redis URL. StartError if redis-py does not understand the options in its query."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = redis_url.parse(url)
        given = server_options(self._url)
        impatient = {
            "protocol": 2,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
        }
        self._options = given | impatient | {
            "max_connections": _CONNECTIONS,
            "timeout": timeout_s,
            "client_name": "rosetta-source-details",
        }  # fmt: skip
        self._sentinel: Sentinel | None = None
        if self._url.kind == "sentinel":
            options = sentinel_options(self._url, given) | impatient
            self._sentinel = Sentinel(self._url.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]  # bare
        self._clients: dict[Address | None, Client] = {}

    async def find(self) -> Primaries:
        """The current primaries; their connections are kept from one call to the next. They follow no server yet."""
        for client in self._clients.values():
            pool_of(client).follow(None)
        if self._url.kind == "cluster":
            return await self._find_cluster()
        address = None
        if self._sentinel is not None:
            address = await self._sentinel.discover_master(self._url.service)
        client = self._client(address)
        server = SinglePrimary(client, pool_of(client).link())
        await self._keep({address})
        return server

    async def close(self) -> None:
        """Closes every connection."""
        await self._keep(set())
        if self._sentinel is not None:
            await self._sentinel.aclose()

    async def _find_cluster(self) -> Cluster:
        known = {*self._url.hosts, *(address for address in self._clients if address)}
        failure: Exception | None = None
        # In random order: the first may be cut off from the others and not know what they have decided.
        for address in random.sample(sorted(known), len(known)):
            try:
                ranges = await self._client(address).execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]  # bare
            except FAILURES as error:
                failure = error
                continue
            slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, primary, *_ in ranges:
                # An empty host means the server that was asked.
                owner = ((primary[0] or b"").decode() or address[0], primary[1])
                slots[first : last + 1] = [owner] * (last - first + 1)
            owners = [owner for owner in slots if owner is not None]
            if len(owners) < REDIS_CLUSTER_HASH_SLOTS:
                raise TopologyError("the cluster does not serve all of its slots")
            clients = {owner: self._client(owner) for owner in set(owners)}
            cluster = Cluster(clients, [pool_of(client).link() for client in clients.values()], owners)
            await self._keep({*self._url.hosts, *owners})
            return cluster
        raise failure or TopologyError("the URL names no host")

    def _client(self, address: Address | None) -> Client:
        client = self._clients.get(address)
        if client is None:
            place = {} if address is None else {"host": address[0], "port": address[1]}
            pool = Pool(**(self._options | place))
            client = self._clients[address] = Client.from_pool(pool)
        return client

    async def _keep(self, wanted: set[Address | None] | set[Address]) -> None:
        for address in self._clients.keys() - wanted:
            await self._clients.pop(address).aclose()


def pool_of(client: Client) -> Pool:
    """The client's connections."""
    pool = client.connection_pool
    assert isinstance(pool, Pool)
    return pool


def operator_client(url: str) -> redis.Redis:
    """A synchronous client of one server, like an operator's redis-cli."""
    return redis.Redis.from_url(url)
