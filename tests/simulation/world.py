"""One run: its servers, its processes, its faults, and what must be so in the end."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from redis.crc import key_slot

from service.cache.digests import LARGE
from service.cache.keys import Keys
from service.pages import filling
from tests.simulation.clock import VirtualLoop
from tests.simulation.config_database import ConfigDatabase
from tests.simulation.network import Network
from tests.simulation.open_page import OpenPage
from tests.simulation.process import Process
from tests.simulation.redis_server import RedisServer, Scripts
from tests.simulation.script import SPAN_S, Step
from tests.simulation.sources import Sources
from tests.simulation.topologies import Cluster, Sentinel

# After the last fault everything is right and cached again within this time.
HEAL_S = 30.0
# An open page shows a change within this time, wherever it is read: its connection may be cut off in between, and each
# message takes up to some 50 ms. It is below a page's life, whose end would hide an eviction that was lost.
SHOWN_S = 3.0
_NAMES = Keys()
_scripts = Scripts()


@dataclass(slots=True)
class Verdict:
    """What was judged. `found` is empty if every promise was kept."""

    reads: int = 0
    found: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


class World:
    """Everything of one run."""

    def __init__(self, seed: int, loop: VirtualLoop, steps: list[Step]) -> None:
        self.seed, self.loop, self.steps = seed, loop, steps
        rng = random.Random(f"world {seed}")
        self.verdict = Verdict()
        self.rng = rng
        self.sources = list(range(1, rng.choice([2, 3, 4]) + 1))
        self.network = Network(rng, rng.choice([0.0003, 0.003, 0.02]), rng.choice([0, 0, 0.001, 0.01]))
        loop.network = self.network
        self.database = ConfigDatabase(rng, self.sources)
        self.kind = rng.choice(["server", "server", "server", "sentinel", "cluster"])
        count = 3 if self.kind == "cluster" else 2
        self.servers = [RedisServer(self.network, ("redis", 7000 + n), _scripts) for n in range(count)]
        self.servers[1].is_replica = self.kind != "cluster"
        self.sentinel: Sentinel | None = None
        self.cluster: Cluster | None = None
        self.url = "redis://redis:7000/0"
        if self.kind == "sentinel":
            self.sentinel = Sentinel(self.network, ("sentinel", 26379), self.servers[0])
            self.url = "redis+sentinel://sentinel:26379/main"
        elif self.kind == "cluster":
            self.cluster = Cluster(self.servers)
            self.url = "redis+cluster://redis:7000"
        # Whether nothing has made messages very late so far.
        self.is_quiet = not self.network.faults
        # Whether a process may still follow another server than its address leads to.
        self.is_split = False
        self.ttl_s = rng.choice([4.0, 8.0])
        # Large pages are answered before they are stored. In some worlds all are large, or those of several tables.
        vars(filling)["LARGE"] = rng.choice([LARGE, LARGE, 1, 2500])
        self.published = Sources(self.sources)
        self.processes = [Process(self, number) for number in range(rng.choice([1, 2, 3]))]
        # Drawing takes longer than all else, so most worlds have none.
        opened = [self.sources[0], self.sources[0], self.sources[-1]] if rng.random() < 0.2 else []
        lives = [process.live for process in self.processes]
        self.open_pages = [OpenPage(source, lives, random.Random(rng.random())) for source in opened]
        self.end = loop.clock + SPAN_S
        self._aside: set[asyncio.Task[None]] = set()

    def fail(self, what: str) -> None:
        """Notes a promise that was not kept."""
        if len(self.verdict.found) < 10:
            self.verdict.found.append(f"{self.loop.clock - 1000:.4f} s: {what}")

    async def run(self) -> Verdict:
        """Lives through the script, heals, and stops."""
        began = self.loop.clock
        self.end = began + SPAN_S
        for process in self.processes:
            await process.run()
        opened = [asyncio.ensure_future(self._open(page)) for page in self.open_pages]
        readers = [asyncio.ensure_future(process.readers()) for process in self.processes for _ in range(10)]
        for step in self.steps:
            await asyncio.sleep(max(began + step.at - self.loop.clock, 0))
            getattr(self, f"_{step.kind}")(*step.numbers)
        await asyncio.gather(*readers, *self._aside)
        await self._heal(opened)
        for process in self.processes:
            await process.stop()
        await asyncio.sleep(20)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self.fail(f"tasks go on after the stop: {left[:3]}")
        return self.verdict

    async def _open(self, page: OpenPage) -> None:
        try:
            await page.run()
        except Exception as error:
            self.fail(f"an open page of source {page.source} failed: {type(error).__name__}: {error}")

    async def connect(self, conninfo: str, **_: Any) -> Any:
        """Instead of psycopg.AsyncConnection.connect: a listener's connection."""
        process = self.processes[int(str(conninfo_to_dict(conninfo)["dbname"]).removeprefix("process"))]
        listening = await self.database.connect()
        process.listen(listening)
        return listening

    async def _heal(self, opened: list[asyncio.Task[None]]) -> None:
        self.network.faults = 0
        self.network.swallows.clear()
        self.database.is_away = False
        self.database.unsettled.clear()
        if self.cluster is not None:
            for slot in list(self.cluster.moving):
                self.cluster.close(slot)
        for server in self.servers:
            server.is_up = True
        for source in self.sources:
            self.database.notify(source, source)
        # Warming and sampling go on; a page whose life ends is no fault.
        deadline = self.loop.clock + HEAL_S
        for process in self.processes:
            while not await process.is_healed():
                if self.loop.clock > deadline:
                    state = f"Redis {process.cache.failure if not process.cache.is_trusted else 'is used'}"
                    self.fail(f"process {process.number} is not healed after {HEAL_S:g} s: {state}")
                    break
                await asyncio.sleep(0.1)
        for source in self.sources:
            self.database.commit(source)
        for _ in range(30):
            if all(map(self._is_shown, self.open_pages)):
                break
            await asyncio.sleep(SHOWN_S / 30)
        for page in self.open_pages:
            if not self._is_shown(page):
                self.fail(f"an open page of source {page.source} still shows {page.shown}")
            elif difference := self.database.difference(
                page.source, page.shown, page.tables, self.database.recorded[page.source]
            ):
                self.fail(f"an open page of source {page.source} shows {difference}")
        # Longer than a lease lives.
        await asyncio.sleep(12)
        for task in opened:
            task.cancel()
        for process in self.processes:
            process.warming._most = 0
        await asyncio.sleep(3)
        for process in self.processes:
            for leak in process.leaks():
                self.fail(leak)
        for server in self.servers:
            if leases := [key for key in list(server.data) if key.endswith(b":lease") and server.has(key)]:
                self.fail(f"leases are left: {leases}")

    def _is_shown(self, page: OpenPage) -> bool:
        return page.shown == self.database.versions[page.source]

    def _pick(self, number: float) -> int:
        return self.sources[int(number * len(self.sources))]

    def _of(self, number: float) -> Process:
        return self.processes[int(number * len(self.processes))]

    def _do(self, work: Callable[[], Any]) -> None:
        task = asyncio.ensure_future(work())
        self._aside.add(task)

    def _holder(self, key: str) -> RedisServer:
        return self.servers[0] if self.cluster is None else self.cluster.owners[key_slot(key.encode())]

    @property
    def _primary(self) -> RedisServer:
        return self.sentinel.primary if self.sentinel is not None else self.network.servers["redis", 7000]  # type: ignore[return-value]

    def _write(self, one: float, other: float) -> None:
        source = self._pick(one)
        # Some programs write the rows that a sync compares with.
        self.database.editions[source] += other < 0.1
        self.database.commit(source)

    def _table(self, one: float, _: float) -> None:
        self.published.last[self._pick(one)] += 1

    def _star(self, one: float, _: float) -> None:
        self.database.commit(self._pick(one), told_to="*")

    def _functions(self, one: float, _: float) -> None:
        """An upgrade: it makes other texts, and then refreshes the view."""

        async def upgrade() -> None:
            self.database.change_functions()
            await asyncio.sleep(one * 0.3)
            self.database.store()

        self._do(upgrade)

    def _copy(self, _: float, __: float) -> None:
        self.database.restart()

    def _move(self, one: float, other: float) -> None:
        """Something moves to a source; what a transaction of that time changes below it is told to another."""
        there, here = self._pick(one), self._pick(other)

        async def settle() -> None:
            self.database.unsettled.add(there)
            self.database.commit(there)
            await asyncio.sleep(other * 0.3)
            self.database.commit(there, told_to=here)
            await asyncio.sleep(one * 0.3)
            self.database.unsettled.discard(there)
            self.database.notify(there, there)

        if here != there and there not in self.database.unsettled:
            self._do(settle)

    def _sync(self, one: float, other: float) -> None:
        self._do(lambda: self._of(other).sync(self._pick(one)))

    def _del(self, one: float, _: float) -> None:
        source = self._pick(one)
        key = _NAMES.page(source)
        server = self._holder(key) if self.cluster is not None else self._primary
        server._del(key.encode())
        self._expect_gone([source])

    def _flush(self, one: float, _: float) -> None:
        (self.servers[int(one * len(self.servers))] if self.cluster is not None else self._primary).flush()
        if self.cluster is None:
            self._expect_gone(self.sources)

    def _expect_gone(self, sources: list[int]) -> None:
        for process in self.processes:
            # Whoever still follows a server that another one has replaced hears that one.
            if process.cache.is_tracked and not self.is_split:
                for source in sources:
                    process.expect_gone(source)

    def _snapshot(self, _: float, __: float) -> None:
        for server in self.servers:
            server.snapshot()
        if self.cluster is None:
            # A replica receives everything, but late.
            primary = self._primary
            for server in self.servers:
                if server is not primary and server.is_replica:
                    server.data, server.ends = dict(primary.data), dict(primary.ends)

    def _restart(self, one: float, other: float) -> None:
        server = self.servers[int(one * len(self.servers))]
        server.restart(["empty", "same", "old"][int(other * 3)])

    def _address(self, one: float, other: float) -> None:
        """A replica takes over: behind the same address, or as the Sentinels say."""
        if self.cluster is not None:
            return
        self.is_split = True
        old = self._primary
        new = next(server for server in self.servers if server is not old)
        if self.sentinel is not None:
            self.sentinel.primary = new
            new.is_replica = False
            old.is_replica = True
        else:
            self.network.servers["redis", 7000] = new
            old.is_replica = one < 0.5
            new.is_replica = False
            if one < 0.2:
                old.restart("same")
            # Connections of the pools end sooner or later; the session's own may outlive them.
            for link in sorted(self.network.links, key=lambda link: link.number):
                if link.server is old and not link.is_subscribed and self.rng.random() < other:
                    old.forget(link)
                    link.cut()

    def _slot(self, one: float, other: float) -> None:
        """A slot begins to move, or arrives."""
        if self.cluster is None:
            return
        slot = key_slot(_NAMES.page(self._pick(one)).encode())
        if slot in self.cluster.moving:
            self.cluster.close(slot)
        else:
            self.cluster.open(slot, self.servers[int(other * len(self.servers))])

    def _swallow(self, one: float, other: float) -> None:
        self.is_quiet = False
        address = "redis", 7000 + int(one * len(self.servers))

        async def flow() -> None:
            self.network.swallows.add(address)
            await asyncio.sleep(other * 1.5)
            self.network.swallows.discard(address)

        self._do(flow)

    def _reset(self, one: float, _: float) -> None:
        links = sorted(self.network.links, key=lambda link: link.number)
        if links:
            link = links[int(one * len(links))]
            link.server.forget(link)
            link.cut()

    def _silent(self, one: float, _: float) -> None:
        """Nothing passes over a session's own connection any more, and nobody says so."""
        self.is_quiet = False
        links = sorted((link for link in self.network.links if link.is_subscribed), key=lambda link: link.number)
        if links:
            links[int(one * len(links))].is_silent = True

    def _foreign(self, one: float, other: float) -> None:
        """Somebody else writes under a page's key."""
        source = self._pick(one)
        key = _NAMES.page(source)
        server = self._holder(key) if self.cluster is not None else self._primary
        another = _NAMES.page(self._pick(other)).encode()
        what = int(other * 7) % 4
        value: Any = [b"garbage", b"", ["a list"], server.data.get(another, b"nothing")][what]
        if what == 3 and another == key.encode():
            return
        server.data[key.encode()] = value
        server.ends[key.encode()] = self.loop.clock + 2
        server._tell(key.encode())

    def _cut(self, one: float, _: float) -> None:
        if (listening := self._of(one).listening) is not None:
            listening.cut()

    def _deaf(self, one: float, _: float) -> None:
        if (listening := self._of(one).listening) is not None:
            listening.is_deaf = True

    def _away(self, one: float, _: float) -> None:
        async def back() -> None:
            self.database.is_away = True
            for listening in list(self.database.listeners):
                listening.cut()
            await asyncio.sleep(one)
            self.database.is_away = False

        self._do(back)
