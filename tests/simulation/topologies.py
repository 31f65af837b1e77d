"""More than one Redis: a Sentinel that names the primary, and the slots of a cluster."""

from typing import Any

from redis.crc import key_slot

from tests.simulation.network import Address, Link, Network
from tests.simulation.redis_server import RedisServer
from tests.simulation.resp import CommandError, encode, parse

_SLOTS = 16384


class Sentinel:
    """Names one primary."""

    def __init__(self, network: Network, address: Address, primary: RedisServer) -> None:
        self.is_up = True
        self.primary = primary
        network.servers[address] = self

    def accept(self, _: Link) -> None:
        return

    def forget(self, _: Link) -> None:
        return

    def receive(self, link: Link, data: bytes) -> None:
        commands, link.received = parse(link.received + data)
        for words in commands:
            link.answer(encode(self._masters() if words[0].upper() == b"SENTINEL" else "OK"))

    def _masters(self) -> Any:
        host, port = self.primary.address
        facts = {
            "name": "main", "ip": host, "port": port, "flags": "master", "num-other-sentinels": 0, "num-slaves": 1,
        }  # fmt: skip
        return [[str(word).encode() for pair in facts.items() for word in pair]]


class Cluster:
    """Which server has each slot. A slot that moves is at both ends, key by key."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self.owners = [servers[slot * len(servers) // _SLOTS] for slot in range(_SLOTS)]
        self.moving: dict[int, RedisServer] = {}
        for server in servers:
            server.cluster = self

    def open(self, slot: int, target: RedisServer) -> None:
        """Begins to move a slot."""
        if target is not self.owners[slot]:
            self.moving[slot] = target

    def close(self, slot: int) -> None:
        """Moves the keys that are left, and ends the move."""
        target = self.moving.pop(slot, None)
        if target is None:
            return
        source, self.owners[slot] = self.owners[slot], target
        for key in [key for key in source.data if key_slot(key) == slot]:
            target.data[key] = source.data[key]
            if key in source.ends:
                target.ends[key] = source.ends[key]
            source._del(key)

    def check(self, server: RedisServer, keys: list[bytes], *, is_asking: bool) -> None:
        """Raises MOVED or ASK if another server has these keys."""
        slot = key_slot(keys[0])
        owner, target = self.owners[slot], self.moving.get(slot)
        if server is owner:
            missing = [key for key in keys if not server.has(key)]
            if target is None or not missing:
                return
            if len(missing) < len(keys):
                raise CommandError("TRYAGAIN Multiple keys request during rehashing of slot")
            raise CommandError(f"ASK {slot} {target.address[0]}:{target.address[1]}")
        if server is target and is_asking:
            return
        raise CommandError(f"MOVED {slot} {owner.address[0]}:{owner.address[1]}")

    def describe(self, asked: RedisServer, what: bytes) -> Any:
        """CLUSTER SLOTS or NODES."""
        ranges: list[tuple[int, int, RedisServer]] = []
        for slot, owner in enumerate(self.owners):
            if ranges and ranges[-1][2] is owner:
                ranges[-1] = ranges[-1][0], slot, owner
            else:
                ranges.append((slot, slot, owner))
        if what == b"SLOTS":
            return [
                [first, last, [owner.address[0].encode(), owner.address[1], self._id(owner).encode()]]
                for first, last, owner in ranges
            ]
        lines = []
        for server in self.servers:
            flags = "myself,master" if server is asked else "master"
            slots = [f"{first}-{last}" for first, last, owner in ranges if owner is server]
            if server is asked:
                slots += [
                    f"[{slot}->-{self._id(target)}]"
                    if self.owners[slot] is server
                    else f"[{slot}-<-{self._id(server)}]"
                    for slot, target in self.moving.items()
                    if server in (target, self.owners[slot])
                ]
            host, port = server.address
            lines.append(f"{self._id(server)} {host}:{port}@{port + 1} {flags} - 0 0 1 connected {' '.join(slots)}")
        return "\n".join(lines).encode() + b"\n"

    def _id(self, server: RedisServer) -> str:
        return f"{server.address[1]:040d}"
