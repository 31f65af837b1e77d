"""A Redis with what the service uses of it: strings with a life, scripts, tracking, Sentinel, slots of a cluster."""

import asyncio
import fnmatch
import hashlib
import itertools
from collections.abc import Callable
from typing import Any

from lupa.lua51 import LuaRuntime, lua_type  # type: ignore[import-untyped]  # it has no types
from redis.crc import key_slot

from tests.simulation.network import Address, Link, Network

_SLOTS = 16384
_runs = itertools.count(1)


class CommandError(Exception):
    """An error reply."""


def encode(value: Any) -> bytes:
    """A reply in RESP2."""
    match value:
        case None:
            return b"$-1\r\n"
        case CommandError():
            return f"-{value}\r\n".encode()
        case bool() | int() | float():
            return f":{int(value)}\r\n".encode()
        case str():
            return f"+{value}\r\n".encode()
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case _:
            return b"*%d\r\n%s" % (len(value), b"".join(map(encode, value)))


def parse(data: bytes) -> tuple[list[list[bytes]], bytes]:
    """The complete commands in the data, and what is left."""
    commands: list[list[bytes]] = []
    start = 0
    while (end := data.find(b"\r\n", start)) >= 0:
        place, words = end + 2, []
        for _ in range(int(data[start + 1 : end])):
            end = data.find(b"\r\n", place)
            if end < 0:
                return commands, data[start:]
            size = int(data[place + 1 : end])
            place = end + 2 + size + 2
            if place > len(data):
                return commands, data[start:]
            words.append(data[end + 2 : place - 2])
        commands.append(words)
        start = place
    return commands, data[start:]


class Scripts:
    """One Lua for all servers of a simulation."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=False)
        self._lua.execute(b"redis = {}")
        self._server: RedisServer | None = None
        table = self._lua.globals()[b"redis"]
        table[b"call"] = self._call
        table[b"pcall"] = self._pcall
        self._table = self._lua.eval(b"function(...) return {...} end")
        self._error = self._lua.eval(b"function(text) return {err = text} end")
        self._compiled: dict[bytes, Any] = {}

    def _call(self, *words: Any) -> Any:
        assert self._server is not None
        value = self._server.run([word if isinstance(word, bytes) else str(word).encode() for word in words])
        return False if value is None else (value.encode() if isinstance(value, str) else value)

    def _pcall(self, *words: Any) -> Any:
        try:
            return self._call(*words)
        except CommandError as error:
            return self._error(str(error).encode())

    def run(self, server: "RedisServer", text: bytes, keys: list[bytes], args: list[bytes]) -> Any:
        """What a script returns."""
        if text not in self._compiled:
            self._compiled[text] = self._lua.eval(b"function() " + text + b" end")
        self._server = server
        names = self._lua.globals()
        names[b"KEYS"], names[b"ARGV"] = self._table(*keys), self._table(*args)
        return self._plain(self._compiled[text]())

    def _plain(self, value: Any) -> Any:
        if value is None or value is False:
            return None
        if lua_type(value) == "table":
            listed: list[Any] = []
            while (item := value[len(listed) + 1]) is not None:
                listed.append(self._plain(item))
            return listed
        return value


class RedisServer:
    """One server. `cluster` is None for a server that stands alone."""

    def __init__(self, network: Network, address: Address, scripts: Scripts, cluster: "Cluster | None" = None) -> None:
        self.network, self.address, self.cluster = network, address, cluster
        self.is_up = True
        self.is_replica = False
        self.run_id = f"run{next(_runs)}"
        self.data: dict[bytes, Any] = {}
        self.ends: dict[bytes, float] = {}
        self.old: tuple[dict[bytes, Any], dict[bytes, float]] = ({}, {})
        self._scripts = scripts
        self._known: dict[bytes, bytes] = {}
        self.links: list[Link] = []
        network.servers[address] = self

    def accept(self, link: Link) -> None:
        self.links.append(link)

    def forget(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)

    def receive(self, link: Link, data: bytes) -> None:
        commands, link.received = parse(link.received + data)
        for words in commands:
            try:
                reply = self._command(link, words)
            except CommandError as error:
                reply = error
            link.answer(encode(reply))

    def snapshot(self) -> None:
        """Keeps what it has now: a restart, or a replica that takes over, may bring it back."""
        self.old = dict(self.data), dict(self.ends)

    def restart(self, how: str) -> None:
        """Ends every connection; comes back `empty`, with the `same` data, or with the last snapshot's (`old`)."""
        links, self.links = self.links, []
        for link in links:
            link.cut()
        self.run_id = f"run{next(_runs)}"
        self._known = {}
        if how == "empty":
            self.data, self.ends = {}, {}
        elif how == "old":
            self.data, self.ends = dict(self.old[0]), dict(self.old[1])

    def flush(self) -> None:
        """FLUSHALL."""
        self.data.clear()
        self.ends.clear()
        self._tell(None)

    def has(self, key: bytes) -> bool:
        """Whether a key exists now."""
        if self.ends.get(key, float("inf")) <= asyncio.get_running_loop().time():
            self.data.pop(key, None)
            del self.ends[key]
            self._tell(key)
        return key in self.data

    def _tell(self, key: bytes | None) -> None:
        for link in self.links:
            if link.is_subscribed and link.prefix is not None and (key is None or key.startswith(link.prefix)):
                link.answer(encode([b"message", b"__redis__:invalidate", None if key is None else [key]]))

    def _command(self, link: Link, words: list[bytes]) -> Any:
        name = words[0].upper()
        is_asking, link.is_asking = link.is_asking, False
        match name:
            case b"CLIENT":
                return self._client(link, words)
            case b"SELECT":
                return "OK"
            case b"INFO":
                return f"# Server\r\nredis_version:7.4.0\r\nrun_id:{self.run_id}\r\n".encode()
            case b"PING":
                return [b"pong", b""] if link.is_subscribed else "PONG"
            case b"SUBSCRIBE":
                link.is_subscribed = True
                return [b"subscribe", words[1], 1]
            case b"ASKING":
                link.is_asking = True
                return "OK"
            case b"CLUSTER":
                assert self.cluster is not None
                return self.cluster.describe(self, words[1].upper())
            case b"EVAL" | b"EVALSHA":
                return self._script(name, words[1:], is_asking=is_asking)
        if self.cluster is not None and name in (b"DEL", b"GET", b"SET"):
            self.cluster.check(self, words[1:] if name == b"DEL" else words[1:2], is_asking=is_asking)
        if self.is_replica and name in (b"DEL", b"SET"):
            raise CommandError("READONLY You can't write against a read only replica.")
        return self.run(words)

    def _client(self, link: Link, words: list[bytes]) -> Any:
        match words[1].upper():
            case b"ID":
                return link.number
            case b"TRACKING":
                link.prefix = words[words.index(b"PREFIX") + 1]
        return "OK"

    def _script(self, name: bytes, words: list[bytes], *, is_asking: bool) -> Any:
        count = int(words[1])
        keys, args = words[2 : 2 + count], words[2 + count :]
        if self.cluster is not None:
            self.cluster.check(self, keys, is_asking=is_asking)
        if name == b"EVAL":
            text = words[0]
            self._known[hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()] = text
        elif words[0] in self._known:
            text = self._known[words[0]]
        else:
            raise CommandError("NOSCRIPT No matching script. Please use EVAL.")
        return self._scripts.run(self, text, keys, args)

    def run(self, words: list[bytes]) -> Any:
        """The outcome of a command on keys."""
        name, *rest = words
        if self.is_replica and name in (b"DEL", b"SET", b"INCR", b"PEXPIRE"):
            raise CommandError("READONLY You can't write against a read only replica.")
        command: Callable[..., Any] = getattr(self, f"_{name.decode().lower()}")
        return command(*rest)

    def _get(self, key: bytes) -> Any:
        if not self.has(key):
            return None
        if not isinstance(self.data[key], bytes):
            raise CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return self.data[key]

    def _exists(self, key: bytes) -> int:
        return int(self.has(key))

    def _pttl(self, key: bytes) -> int:
        if not self.has(key):
            return -2
        return int((self.ends[key] - asyncio.get_running_loop().time()) * 1000) if key in self.ends else -1

    def _del(self, *keys: bytes) -> int:
        held = [key for key in keys if self.has(key)]
        for key in held:
            del self.data[key]
            self.ends.pop(key, None)
            self._tell(key)
        return len(held)

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        if b"NX" in options and self.has(key):
            return None
        self.data[key] = value
        self.ends.pop(key, None)
        if b"PX" in options:
            life_ms = int(options[options.index(b"PX") + 1])
            self.ends[key] = asyncio.get_running_loop().time() + life_ms / 1000
        self._tell(key)
        return "OK"

    def _incr(self, key: bytes) -> int:
        number = int(self._get(key) or 0) + 1
        self.data[key] = str(number).encode()
        return number

    def _pexpire(self, key: bytes, life_ms: bytes) -> int:
        self.ends[key] = asyncio.get_running_loop().time() + int(life_ms) / 1000
        return 1

    def _scan(self, cursor: bytes, *options: bytes) -> Any:
        # Two steps, so that keys may come and go between them.
        pattern = options[options.index(b"MATCH") + 1].decode().replace("[", "[[]").replace("[[]ls]", "[ls]")
        found = [key for key in list(self.data) if self.has(key) and fnmatch.fnmatchcase(key.decode(), pattern)]
        half = [key for key in found if (key_slot(key) % 2 == 0) == (cursor == b"0")]
        return [b"1" if cursor == b"0" else b"0", half]


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
