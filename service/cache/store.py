"""Pages in Redis, and the leases that keep a slow reader from undoing an eviction.

A page is stored only while its lease exists. An eviction deletes page and lease in one command, so that a page that was
read before it is refused afterwards. The script that reads a page begins with a write that changes nothing, which a
replica refuses: a demoted server may lack evictions, and nothing is read from it.

Anyone can write under a page's key: another program, an operator, another deployment. So a seal beside the page says
whose it is: the source's id, the config database and the digest of the bytes. A page without its seal is replaced.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Any, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from service.cache import scripts
from service.cache.deployment import MOST_AT_ONCE
from service.cache.digests import former_digest_of, long_digest
from service.cache.keys import Keys
from service.cache.primaries import Primaries, Script
from service.cache.values import FAILURES, CacheUnavailableError, Claim, ForeignMarkError, parse_publication
from service.telemetry.events import CacheAccepts, CacheRefuses, Observer, PageReplaced
from service.telemetry.tracing import span

T = TypeVar("T")

# A fill that takes longer than this loses its lease, and another reader may start over.
_LEASE_MS = 10_000
# A deployment that has not renewed its mark for so long has left Redis to others.
_MARK_MS = 60_000
MARK_AGAIN_S = _MARK_MS / 4000


class Cache:
    """The commands. Each raises CacheUnavailableError if Redis does not answer in time, or refuses.

    The session (see `session`) decides when they may be used, with `begin`, `trust` and `end`.
    """

    def __init__(self, observer: Observer, keys: Keys, *, eviction_wait_s: float) -> None:
        self._observe = observer
        self.keys = keys
        self._identity = ""
        self._eviction_wait = eviction_wait_s
        self._primaries: Primaries | None = None
        self._is_reachable = self._is_trusted = self._is_tracked = False
        self._failure = "not connected yet"
        self._refusal: str | None = None
        self.failed = asyncio.Event()
        self._evicting: dict[int | None, set[asyncio.Future[None]]] = {}
        self._readers = asyncio.Semaphore(MOST_AT_ONCE)

    @property
    def is_reachable(self) -> bool:
        """Redis answers: evictions go to it."""
        return self._is_reachable

    @property
    def is_trusted(self) -> bool:
        """Every eviction has reached Redis; until then nothing is read or stored."""
        return self._is_trusted

    @property
    def is_tracked(self) -> bool:
        """Redis reports every change of a page's key, so a process may keep pages as well."""
        return self._is_tracked

    @property
    def failure(self) -> str:
        """Why Redis is not used, or was last not used."""
        return self._failure

    @property
    def refusal(self) -> str | None:
        """Why Redis answers but does not store; None if it stores."""
        return self._refusal

    @property
    def evictions_under_way(self) -> int:
        """Of how many sources, or of all, Redis has not answered an eviction yet."""
        return len(self._evicting)

    def begin(self, primaries: Primaries, identity: str) -> None:
        """Sends evictions to these servers from now on; failures of earlier servers no longer count.

        `identity` names the config database whose pages these are.
        """
        self._primaries = primaries
        self._identity = identity
        self.failed.clear()
        self._is_reachable = True

    def trust(self, *, is_tracked: bool) -> None:
        """Allows reading and storing, now that everything older is evicted."""
        self._is_tracked = is_tracked
        self._is_trusted = True

    def end(self, reason: str) -> None:
        """Sends no more commands to Redis."""
        self._primaries = None
        self._is_reachable = self._is_trusted = self._is_tracked = False
        self._failure = reason

    async def claim(self, source_id: int, token: str, *, force: bool, known: tuple[str, int] | None = None) -> Claim:
        """The page, or the lease to compute it; `force` takes the lease in any case.

        `known`: the digest of a page that the reader has, and its bytes. Redis does not send it again.
        """
        # Evictions that are under way must arrive first: their notifications have been delivered. All of them: one that
        # began earlier and arrives later would delete a page that the process keeps, and hear nothing of that.
        deadline = monotonic() + self._eviction_wait
        while pending := self._evicting.get(source_id) or self._evicting.get(None):
            # Bounded, since a scan is slow if Redis has many keys; a page computed without Redis is just as correct.
            _, late = await asyncio.wait(pending, timeout=max(deadline - monotonic(), 0))
            if late:
                raise CacheUnavailableError
        if not self._is_trusted:
            raise CacheUnavailableError
        keys = self.keys
        names = keys.page(source_id), keys.seal(source_id), keys.lease(source_id), keys.publication(source_id)
        with span("redis claim", source_id=source_id):
            answer = await self._run(
                scripts.CLAIM,
                (*names, keys.companion(source_id, "none")),
                token,
                _LEASE_MS,
                int(force),
                self._seal(source_id, known[0]) if known else b"",
                known[1] if known else 0,
            )
        if answer[0] == b"known":
            return Claim(is_known=True, ttl_ms=answer[1])
        if answer[0] == b"page":
            page, ttl_ms, seal = answer[1] or b"", answer[2], answer[3]
            digest = await long_digest(page)
            # Version 0.1.0 seals with BLAKE2b. While its processes run beside newer ones, each would else replace what
            # the other has stored, without end.
            if seal == self._seal(source_id, digest) or seal == self._seal(
                source_id, await long_digest(page, former_digest_of)
            ):
                return Claim(page=page, digest=digest, ttl_ms=ttl_ms)
            self._observe(PageReplaced(source_id=source_id))
            return await self.claim(source_id, token, force=True)
        return Claim(
            is_granted=answer[0] == b"granted", publication=parse_publication(answer[1]) if len(answer) > 1 else None
        )

    def _seal(self, source_id: int, digest: str) -> bytes:
        return f"{source_id} {self._identity} {digest}".encode()

    async def store(self, source_id: int, token: str, body: bytes, digest: str, ttl_ms: int) -> bool:
        """Stores a page if its lease still exists; false if the lease was lost, or the page has expired."""
        if not self._is_trusted or ttl_ms <= 0:
            return False
        names = self.keys.page(source_id), self.keys.seal(source_id), self.keys.lease(source_id)
        seal = self._seal(source_id, digest)
        with span("redis store", source_id=source_id, body_bytes=len(body)):
            is_stored = bool(await self._run(scripts.STORE, names, token, body, ttl_ms, seal))
        if self._refusal is not None:
            self._refusal = None
            self._observe(CacheAccepts())
        return is_stored

    async def release(self, source_id: int, token: str) -> None:
        """Gives a lease back, so that nobody waits for a fill that will not finish."""
        if self._is_trusted:
            await self._run(scripts.RELEASE, [self.keys.lease(source_id)], token)

    async def remember_publication(self, source_id: int, number: int, publication: bytes, ttl_ms: int) -> None:
        """Keeps a source's answer about its publication; `number` is that of the last sync, 0 if there is none."""
        if self._is_trusted:
            await self._run(scripts.REMEMBER, [self.keys.publication(source_id)], number, publication, ttl_ms)

    async def remember_tables(self, source_id: int, tables: bytes, ttl_ms: int) -> None:
        """Keeps the names of all of a source's tables."""
        await self._remember_text(self.keys.companion(source_id, "tables"), tables, ttl_ms)

    async def recall_tables(self, source_id: int) -> bytes | None:
        """The names that were kept, or None if they have expired."""
        return await self._recall_text(self.keys.companion(source_id, "tables"))

    async def remember_hot(self, source_ids: bytes, ttl_ms: int) -> None:
        """Keeps the ids of the most requested pages."""
        await self._remember_text(self.keys.hot, source_ids, ttl_ms)

    async def recall_hot(self) -> bytes | None:
        """The ids that were kept, or None if they have expired."""
        return await self._recall_text(self.keys.hot)

    async def _remember_text(self, key: str, text: bytes, ttl_ms: int) -> None:
        if self._is_trusted:
            await self._run(scripts.REMEMBER_TEXT, [key], text, ttl_ms)

    async def _recall_text(self, key: str) -> bytes | None:
        if not self._is_trusted:
            return None
        text: bytes | None = await self._run(scripts.RECALL_TEXT, [key])
        return text

    async def count(self, name: str, ttl_ms: int) -> int:
        """Counts a name, and returns its count since the first time. CacheUnavailableError without Redis."""
        if not self._is_trusted:
            raise CacheUnavailableError
        return int(await self._run(scripts.COUNT, [self.keys.counter(name)], ttl_ms))

    async def evict(self, source_ids: Iterable[int] | None) -> None:
        """Deletes pages and leases, all of them for None. Until that is done, no claim on them is answered."""
        if not self._is_reachable:
            # Nothing is read from Redis either, and the session evicts everything before that changes.
            return
        ids = None if source_ids is None else list(source_ids)
        done = asyncio.get_running_loop().create_future()
        marks: list[int | None] = [None] if ids is None else list(ids)
        for mark in marks:
            self._evicting.setdefault(mark, set()).add(done)
        try:
            if ids is None:
                await self.evict_all()
            else:
                keys = self.keys
                groups = [(keys.page(number), keys.seal(number), keys.lease(number)) for number in ids]
                await self._ask(lambda primaries: primaries.delete(groups), must_succeed=True)
        finally:
            done.set_result(None)
            for mark in set(marks):
                self._evicting[mark].discard(done)
                if not self._evicting[mark]:
                    del self._evicting[mark]

    async def evict_all(self) -> None:
        """Deletes every page and lease of all processes. It uses SCAN, which does not block Redis.

        Leases first, then pages: a fill whose lease the first pass missed has stored its page before the second pass.
        """
        await self._ask(lambda primaries: primaries.delete_matching(self.keys.patterns), must_succeed=True)

    async def mark(self) -> None:
        """Marks Redis as this deployment's for the next minute. ForeignMarkError if it carries another's mark.

        The seals keep two deployments' pages apart. The mark is there so that somebody is told.
        """
        try:
            held = await self._ask(
                lambda primaries: primaries.run(scripts.MARK, [self.keys.mark], [self._identity, _MARK_MS])
            )
        except CacheUnavailableError:
            if self._is_reachable:
                # It refuses to store, for now: nobody else can mark it either.
                return
            raise
        if held != self._identity.encode():
            raise ForeignMarkError(held[:100].decode("utf-8", "replace"))

    async def _run(self, script: Script, names: Sequence[str], *args: Any) -> Any:
        # Readers queue here, without a timeout. If they queued for a connection, its timeout would make Redis seem lost
        # and begin a new session, which evicts all pages.
        async with self._readers:
            return await self._ask(lambda primaries: primaries.run(script, names, args))

    async def _ask(self, command: Callable[[Primaries], Awaitable[T]], *, must_succeed: bool = False) -> T:
        primaries = self._primaries
        if primaries is None:
            raise CacheUnavailableError
        try:
            return await command(primaries)
        except MovedError as error:
            self._fail(primaries, "the server belongs to a cluster; ROSETTA_REDIS_URL has to be redis+cluster://...")
            raise CacheUnavailableError from error
        except (AskError, TryAgainError) as error:
            # The key's slot is moving to another server of the cluster; in the meantime the page is computed.
            if must_succeed:
                self._fail(primaries, str(error))
            raise CacheUnavailableError from error
        except (ReadOnlyError, ClusterDownError, MasterDownError) as error:
            self._fail(primaries, f"no primary that takes writes: {error}")
            raise CacheUnavailableError from error
        except ResponseError as error:
            # Redis answers but refuses (out of memory, say); only a refused eviction is a danger.
            if self._refusal is None:
                self._observe(CacheRefuses(reason=str(error)))
            self._refusal = str(error)
            if must_succeed:
                self._fail(primaries, str(error))
            raise CacheUnavailableError from error
        except FAILURES as error:
            # One failure is enough: every later command would wait for the same timeout.
            self._fail(primaries, str(error) or type(error).__name__)
            raise CacheUnavailableError from error
        except BaseException as error:
            # Cancelled, say: what it was to delete may still be there, or go when it is there anew.
            if must_succeed:
                self._fail(primaries, str(error) or type(error).__name__)
            raise

    def _fail(self, primaries: Primaries, reason: str) -> None:
        # A failure of an earlier session's servers says nothing about the present ones. An eviction that missed the
        # former is not missing in the latter: their session began with the eviction of everything.
        if primaries is self._primaries:
            self.fail(reason)

    def fail(self, reason: str) -> None:
        """Stops using Redis until a new session has begun."""
        self._is_reachable = self._is_trusted = self._is_tracked = False
        self._failure = reason
        self.failed.set()
