"""One process of the service in a simulated world, its readers, and the judgement of every read."""

import asyncio
import random
import re
from collections.abc import Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from service.cache.deployment import Deployment
from service.cache.keys import Keys
from service.cache.session import CacheSession
from service.cache.store import Cache
from service.concurrency import Supervisor
from service.errors import ConfigDatabaseUnavailableError, SyncError
from service.pages.details import Pages
from service.pages.fragments import KeptFragments
from service.pages.listener import Listener
from service.pages.memory import Memory
from service.pages.page import Answer
from service.pages.refresher import Refresher
from service.pages.sampler import Sampler
from service.pages.warming import Warming
from service.sources.publication import Publications
from service.sources.sync import Synchronizer
from service.telemetry.events import Event, Evicted, Observer, TaskFailed
from service.web.live import Live
from service.web.seats import Seats
from tests.simulation.config_database import Listening
from tests.simulation.database_client import Client
from tests.simulation.open_page import tables_of
from tests.simulation.sources import Connections

if TYPE_CHECKING:
    from tests.simulation.world import World

_FORCED = 0.03
_LAST = re.compile(rb'"last":([0-9]+)')


def _last(answer: Answer) -> int:
    """The last table that a page shows."""
    found = _LAST.search(answer.page.body)
    assert found is not None
    return int(found[1])


class Process:
    """One process of the service. `told` is the highest version of each source that it has been told of."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        rng = random.Random(f"process {world.seed} {number}")
        self.rng = rng
        database: Any = Client(world.database)
        observer = Observer()
        observer.subscribe(self._note)
        self.cache = Cache(observer, Keys(), eviction_wait_s=1.0)
        connections: Any = Connections(world.published, rng)
        self.redis = Deployment(world.url, 0.25)
        publications = Publications(connections, self.cache, budget_s=0.05, patience_s=1.0, ttl_s=1)
        # A page has about 2,500 bytes: the small cache holds two.
        memory = Memory(rng.choice([0, 6000, 2**20]), rng.choice([0.0, 5.0, 60.0]))
        fragments = KeptFragments(rng.choice([0, 6000, 2**20]))
        self.pages = Pages(
            database, self.cache, memory, fragments, publications, observer, ttl_s=world.ttl_s, fill_wait_s=1.0
        )

        async def identity() -> str:
            row = await database.fetch_one("identity")
            return str(row["identity"])

        self.session = CacheSession(self.redis, self.cache, observer, self._doubt, identity)
        self._database = database
        self.synchronizer = Synchronizer(
            database, connections, publications, self.pages.evict, observer, budget_s=3.0, patience_s=3.0
        )
        self.live = Live(database, self.pages, connections, observer, Seats(10))
        refresher = Refresher(database, observer, share=0.1)
        self.warming = Warming(self.pages, self.cache, observer, most=rng.choice([0, 2]), ttl_s=world.ttl_s)
        self.sampler = Sampler(self.pages, observer, share=0.05, draw=rng.random)
        self.listener = Listener(
            database, self.pages, refresher, observer, dsn=f"dbname=process{number}", canary_interval_s=1.0
        )
        self.tasks = Supervisor(lambda task, error: world.fail(f"{task} failed: {type(error).__name__}: {error}"))
        self._refresher = refresher
        self.told = dict.fromkeys(world.database.versions, 0)
        self.shown = dict.fromkeys(world.database.versions, 0)
        self._changed = {source: asyncio.Event() for source in world.database.versions}
        self._gone: dict[int, Any] = {}
        self.listening: Listening | None = None

    def _note(self, event: Event) -> None:
        self.world.verdict.seen[type(event).__name__] += 1
        if isinstance(event, Evicted):
            for source in self._changed if event.sources is None else event.sources:
                if source in self._changed:
                    self._changed[source].set()
        elif isinstance(event, TaskFailed):
            self.world.fail(f"{event.task} failed: {event.reason}")

    def _doubt(self, source: int | None) -> None:
        # A page that the process had when it heard of a DEL may not be served from the process afterwards.
        for each in self.told if source is None else (source,):
            self._gone[each] = self.pages.memory.get(each) or self._gone.get(each)
        self.pages.doubt(source)

    def listen(self, listening: Listening) -> None:
        """A new connection of its listener."""
        self.listening = listening
        listening.on_told = self._tell

    def _tell(self, source: int, version: int) -> None:
        if source in self.told:
            self.told[source] = max(self.told[source], version)

    async def run(self) -> None:
        """Starts everything."""
        evict = self.pages.evict

        def watched(source_ids: Any, cause: Any) -> Awaitable[None]:
            # All that was committed before the listener listened is known from the eviction of everything on.
            if cause == "reconnect" and self.listening is not None:
                for source, version in self.listening.before.items():
                    self._tell(source, version)
            return evict(source_ids, cause)

        self.pages.evict = watched  # type: ignore[method-assign, assignment]  # only looks
        self.tasks.start("cache session", self.session.run)
        self.tasks.start("listener", self.listener.run)
        self.tasks.start("refresher", self._refresher.run)
        self.tasks.start("warming", self.warming.run)
        for source in self.told:
            self.tasks.start(f"watcher {source}", lambda source=source: self._watch(source))  # type: ignore[misc]
        await self.session.tried.wait()

    async def _watch(self, source: int) -> None:
        """Reads at once after each eviction, when most is under way."""
        while True:
            await self._changed[source].wait()
            self._changed[source].clear()
            try:
                answer = await self.pages.read(source)
            except ConfigDatabaseUnavailableError:
                await asyncio.sleep(0.3)
                self._changed[source].set()
                continue
            if answer.found == "last known":
                await asyncio.sleep(0.3)
                self._changed[source].set()
            self.shown[source] = self._judge(source, answer, 0, "a read after an eviction")

    def expect_gone(self, source: int) -> None:
        """Its page was deleted in Redis: the session hears of it, or ends and doubts every page."""
        page = self.pages.memory.get(source)

        def look() -> None:
            if page is not None and self.pages.memory.get(source) is page:
                self.world.fail(
                    f"process {self.number}: source {source}: a page that was deleted in Redis is still there"
                )

        # A silent connection is noticed after two seconds, and the timeouts of what then happens.
        self.world.loop.call_later(0.7 if self.world.is_quiet else 4.0, look)

    async def readers(self) -> None:
        """Clients that read all the time."""
        mean = self.rng.choice([0.0005, 0.005, 0.05])
        while self.world.loop.clock < self.world.end:
            await asyncio.sleep(self.rng.expovariate(1 / mean))
            for _ in range(self.rng.choice([1, 4])):
                with suppress(ConfigDatabaseUnavailableError):
                    await self._read(self.rng.choice(self.world.sources))

    async def _read(self, source: int) -> None:
        if self.rng.random() < _FORCED:
            least = self.world.database.versions[source]
            self._judge(source, await self.pages.reload(source), least, "a forced read")
            return
        self.warming.touch(source)
        answer = await self._plain(source)
        if answer.found in ("memory", "redis"):
            self.sampler.offer(source, answer.page)

    async def _plain(self, source: int) -> Answer:
        least, gone = self.told[source], self._gone.get(source)
        answer = await self.pages.read(source)
        self._judge(source, answer, least, "a read")
        if answer.found == "memory" and answer.page is gone:
            self.world.fail(f"process {self.number}: source {source}: a page was served that was deleted in Redis")
        return answer

    def _judge(self, source: int, answer: Answer, least: int, what: str) -> int:
        verdict = self.world.verdict
        verdict.reads += 1
        verdict.seen[answer.found] += 1
        body = answer.page.body
        if not body.startswith(b'{"v":') or b',"id":%d,' % source not in body[:40]:
            self.world.fail(f"process {self.number}: {what} of source {source} is not its page: {body[:40]!r}")
            return 0
        version = int(body[5 : body.index(b",")])
        if version < least:
            self.world.fail(
                f"process {self.number}: {what} of source {source} shows {version}, not {least} ({answer.found})"
            )
        # All that was recorded by then is published, and nothing of it is hidden by an older answer of the source.
        elif (last := _last(answer)) < (recorded := len(self.world.database.shown_at[source][least].rows)):
            self.world.fail(
                f"process {self.number}: {what} of source {source} ends with table {last}, not {recorded} "
                f"({answer.found})"
            )
        elif difference := self.world.database.difference(source, version, tables_of(body.decode()), last):
            self.world.fail(f"process {self.number}: {what} of source {source} shows {difference} ({answer.found})")
        return version

    async def sync(self, source: int) -> None:
        """As a reader with force_refresh: the page has what the source published at the call, as it was recorded."""
        tables = self.world.published.last[source]
        try:
            await self.synchronizer.sync(source)
            least = self._database.synced[source]
            answer = await self.pages.read(source)
        except (SyncError, ConfigDatabaseUnavailableError):
            return
        self._judge(source, answer, least, "the answer of a sync")
        if (last := _last(answer)) < tables:
            self.world.fail(
                f"process {self.number}: the answer of a sync of source {source} lacks tables after t{last}, "
                f"of {tables} ({answer.found})"
            )

    async def is_healed(self) -> bool:
        """Whether every page is right, and read from a cache the second time."""
        for source, version in self.world.database.versions.items():
            try:
                await self._plain(source)
                answer = await self._plain(source)
            except ConfigDatabaseUnavailableError:
                return False
            if self._judge(source, answer, 0, "a read") != version or answer.found not in ("memory", "redis"):
                return False
            if self.shown[source] != version:
                return False
        is_deaf = self.listening is None or self.listening.is_deaf
        return self.cache.is_trusted and self.listener.is_listening and not is_deaf

    def leaks(self) -> list[str]:
        """What should be over."""
        left = {
            "fills": self.pages._fills,
            "waiters": self.pages.filling._changed,
            # Source 0 is the canary's, which comes every second.
            "evictions": {mark for mark in self.cache._evicting if mark != 0},
            "questions": self.pages.filling._publications._asking,
            "rooms": self.live.rooms,
            "drawings": self.live._drawing,
            "syncs": self.synchronizer._callers,
        }
        return [f"process {self.number} has {name} left: {held}" for name, held in left.items() if held]

    async def stop(self) -> None:
        """As `Runtime.stop`."""
        self.live.close()
        await self.tasks.stop()
        await self.listener.close()
        await self.redis.close()
