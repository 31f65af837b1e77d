"""A Redis with what the service uses of it: strings with a life, scripts, tracking."""

import asyncio
import fnmatch
import hashlib
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lupa.lua51 import LuaRuntime, lua_type  # type: ignore[import-untyped]  # it has no types
from redis.crc import key_slot

from tests.simulation.network import Address, Link, Network
from tests.simulation.resp import HELLO, CommandError, encode, parse, push

if TYPE_CHECKING:
    from tests.simulation.topologies import Cluster

_runs = itertools.count(1)


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


class Raw(bytes):
    """A reply that is encoded already."""


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
        # Whose command runs.
        self._client: Link | None = None
        network.servers[address] = self

    def accept(self, link: Link) -> None:
        self.links.append(link)

    def forget(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)

    def receive(self, link: Link, data: bytes) -> None:
        commands, link.received = parse(link.received + data)
        for words in commands:
            self._client = link
            try:
                reply = self._command(link, words)
            except CommandError as error:
                reply = error
            self._client = None
            link.answer(reply if isinstance(reply, Raw) else encode(reply))

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

    def _tell(self, key: bytes | None, by: Link | None = None) -> None:
        for link in self.links:
            if link is by and not link.hears_itself:
                continue
            if link.prefix is not None and (key is None or key.startswith(link.prefix)):
                link.answer(push(b"invalidate", None if key is None else [key]))

    def _command(self, link: Link, words: list[bytes]) -> Any:
        name = words[0].upper()
        is_asking, link.is_asking = link.is_asking, False
        match name:
            case b"CLIENT":
                return self._client_command(link, words)
            case b"HELLO":
                return Raw(HELLO)
            case b"SELECT":
                return "OK"
            case b"INFO":
                return f"# Server\r\nredis_version:7.4.0\r\nrun_id:{self.run_id}\r\n".encode()
            case b"PING":
                return "PONG"
            case b"SUBSCRIBE":
                link.is_subscribed = True
                return Raw(push(b"subscribe", words[1], 1))
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

    def _client_command(self, link: Link, words: list[bytes]) -> Any:
        if words[1].upper() == b"TRACKING":
            assert b"BCAST" in words
            link.prefix = words[words.index(b"PREFIX") + 1]
            link.hears_itself = b"NOLOOP" not in words
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

    def _strlen(self, key: bytes) -> int:
        return len(self._get(key) or b"")

    def _pttl(self, key: bytes) -> int:
        if not self.has(key):
            return -2
        return int((self.ends[key] - asyncio.get_running_loop().time()) * 1000) if key in self.ends else -1

    def _del(self, *keys: bytes) -> int:
        held = [key for key in keys if self.has(key)]
        for key in held:
            del self.data[key]
            self.ends.pop(key, None)
            self._tell(key, self._client)
        return len(held)

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        if b"NX" in options and self.has(key):
            return None
        self.data[key] = value
        self.ends.pop(key, None)
        if b"PX" in options:
            life_ms = int(options[options.index(b"PX") + 1])
            self.ends[key] = asyncio.get_running_loop().time() + life_ms / 1000
        self._tell(key, self._client)
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
