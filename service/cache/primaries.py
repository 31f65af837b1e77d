"""The Redis servers of a session, and which of them has each key: one primary, or the primaries of a cluster.

Commands go only to these servers. redis-py's own clients for Sentinel and Cluster follow a failover silently, but
replication is asynchronous, and a promoted replica may lack the last evictions. So a primary that the session does not
know ends the session.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import redis.asyncio
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, TryAgainError

from service.cache.link import Key, Link
from service.config.redis_url import Address

_BATCH = 500
_REDIRECTIONS = 5

Client = redis.asyncio.Redis


class Script:
    """A Lua script. A server that has run it once knows it by its digest."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Client, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Runs the script, whose keys share a slot, and returns its result."""
        try:
            return await client.evalsha(self._digest, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self._text, len(keys), *keys, *args)


class TopologyError(RedisError):
    """The servers or their slots have changed since the session began, or are changing right now."""


class Primaries(Protocol):
    """The servers of one session. Raises `values.FAILURES`.

    `links` are the session's own connections, in the order of the clients. Keys are deleted over them.
    """

    clients: list[Client]
    links: list[Link]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Runs a script whose keys share a slot."""

    async def delete(self, groups: Sequence[Sequence[Key]]) -> None:
        """Deletes the keys. A group shares a slot, and is deleted by one command unless its slot is moving."""

    async def delete_matching(self, patterns: Sequence[str]) -> None:
        """Deletes the keys that SCAN finds, pattern by pattern. ResponseError if a server takes no writes."""


class SinglePrimary:
    """One primary."""

    def __init__(self, client: Client, link: Link) -> None:
        self.clients = [client]
        self.links = [link]
        self._client = client
        self._link = link

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return await script.run(self._client, keys, args)

    async def delete(self, groups: Sequence[Sequence[Key]]) -> None:
        for start in range(0, len(groups), _BATCH):
            await self._link.run("DEL", *(key for group in groups[start : start + _BATCH] for key in group))

    async def delete_matching(self, patterns: Sequence[str]) -> None:
        # No key has such a name, but a replica refuses the command. Without it we would read a replica, which misses
        # evictions.
        await self._link.run("DEL", *patterns)
        for pattern in patterns:
            async for found in _scan(self._client, pattern):
                await self._link.run("DEL", *found)


class Cluster:
    """The primaries of a cluster; `slots` has the owner of each slot."""

    def __init__(self, clients: dict[Address, Client], links: list[Link], slots: list[Address]) -> None:
        self.clients = list(clients.values())
        self.links = links
        self._clients = clients
        self._link_of = dict(zip(self.clients, links, strict=True))
        self._slots = slots

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        for _ in range(_REDIRECTIONS):
            try:
                return await script.run(self._owner(keys[0]), keys, args)
            except MovedError as error:
                self._follow(error)
        raise TopologyError("a slot keeps moving")

    async def delete(self, groups: Sequence[Sequence[Key]]) -> None:
        by_owner: dict[Client, list[Sequence[Key]]] = {}
        for group in groups:
            by_owner.setdefault(self._owner(group[0]), []).append(group)
        deleting = [_delete(self._link_of[client], owned) for client, owned in by_owner.items()]
        for left in await asyncio.gather(*deleting):
            for group in left:
                # In reverse, a lease before its page: a lease that still exists would let a fill store the page again.
                for key in reversed(group):
                    await self._delete_moving(key)

    async def delete_matching(self, patterns: Sequence[str]) -> None:
        before = await self._layout()
        for pattern in patterns:
            for client, link in self._link_of.items():
                async for found in _scan(client, pattern):
                    groups: list[Sequence[Key]] = [(key,) for key in found]
                    if await _delete(link, groups):
                        raise TopologyError("slots of the cluster are moving")
        # A key may have moved from a server that was not scanned yet to one that already was.
        if before != await self._layout():
            raise TopologyError("slots of the cluster moved while everything was being evicted")

    def _owner(self, key: Key) -> Client:
        return self._clients[self._slots[key_slot(key if isinstance(key, bytes) else key.encode())]]

    def _known(self, address: Address) -> Client:
        client = self._clients.get(address)
        if client is None:
            raise TopologyError(f"the cluster has another primary: {address[0]}:{address[1]}")
        return client

    def _follow(self, error: MovedError) -> None:
        address = error.host, error.port
        self._known(address)
        self._slots[error.slot_id] = address

    async def _delete_moving(self, key: Key) -> None:
        # If the owner of a moving slot lacks one of its keys, only the slot's next owner can have the key.
        next_owner: Client | None = None
        for _ in range(_REDIRECTIONS):
            try:
                if next_owner is None:
                    await self._owner(key).delete(key)
                else:
                    await _delete_asking(next_owner, key)
            except MovedError as error:
                self._follow(error)
                next_owner = None
            except AskError as error:
                next_owner = self._known((error.host, error.port))
            else:
                return
        raise TopologyError("a slot keeps moving")

    async def _layout(self) -> list[Any]:
        """The slots of each server. TopologyError if a slot is moving."""
        layout = []
        for client in self.clients:
            nodes = await client.execute_command("CLUSTER NODES")  # type: ignore[no-untyped-call]  # bare
            (own,) = (node for node in nodes.values() if "myself" in node["flags"])
            if own["migrations"]:
                raise TopologyError("slots of the cluster are moving")
            layout.append(own["slots"])
        return layout


async def _scan(client: Client, pattern: str) -> AsyncIterator[list[Key]]:
    cursor = 0
    while True:
        cursor, found = await client.scan(cursor, match=pattern, count=1000)
        if found:
            yield found
        if cursor == 0:
            return


async def _delete_asking(client: Client, key: Key) -> None:
    """Deletes a key on the server that its slot is moving to."""
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("ASKING")
    pipeline.delete(key)
    await pipeline.execute()


async def _delete(link: Link, groups: Sequence[Sequence[Key]]) -> list[Sequence[Key]]:
    """Deletes each group with its own command; returns the groups that have left this server, in part or entirely."""
    left: list[Sequence[Key]] = []
    for start in range(0, len(groups), _BATCH):
        batch = groups[start : start + _BATCH]
        answers = await link.run_all([("DEL", *group) for group in batch])
        for group, answer in zip(batch, answers, strict=True):
            if isinstance(answer, (MovedError, AskError, TryAgainError)):
                left.append(group)
            elif isinstance(answer, Exception):
                raise answer
    return left
