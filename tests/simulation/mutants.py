"""Guards of the read path, each taken out: by its text, in the module that has it.

The simulation has to catch every one, or the named test does. A guard that nothing catches is a missing judgement, or
dead code.
"""

import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `owner` (module:Class.method, or module:NAME for a script), `text` becomes `instead`."""

    owner: str
    text: str
    instead: str
    caught_by: str = SIMULATION

    def apply(self) -> None:
        """Takes the guard out. AssertionError if its text is not there."""
        place, name = self.owner.split(":")
        module = importlib.import_module(f"service.{place}")
        *path, last = name.split(".")
        holder: Any = module
        for part in path:
            holder = getattr(holder, part)
        found = getattr(holder, last)
        if not path and not inspect.isfunction(found):
            assert self.text in found._text, self.owner
            setattr(module, last, type(found)(found._text.replace(self.text, self.instead)))
            return
        source = textwrap.dedent(inspect.getsource(found))
        assert self.text in source, self.owner
        names = vars(sys.modules[module.__name__])
        made: dict[str, Any] = {}
        exec(compile(source.replace(self.text, self.instead), f"<mutant of {self.owner}>", "exec"), names, made)  # noqa: S102  # our own text
        setattr(holder, last, made[last])


MUTANTS = {
    # Redis: leases, order, trust.
    "store without a lease": Mutant("cache.scripts:STORE", "text(KEYS[3]) ~= ARGV[1]", "false"),
    "claim of a replica": Mutant(
        "cache.scripts:CLAIM", "redis.call('DEL', KEYS[5])", "", "tests/cache/test_sentinel.py"
    ),
    "lease for everybody": Mutant(
        "cache.scripts:CLAIM",
        "elseif not redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2], 'NX') then",
        "elseif redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2]) == nil then",
        "tests/pages/test_guards.py",
    ),
    "release of another's lease": Mutant(
        "cache.scripts:RELEASE", "text(KEYS[1]) == ARGV[1]", "true", "tests/pages/test_guards.py"
    ),
    "publication of an older sync": Mutant(
        "cache.scripts:REMEMBER", "number and number > tonumber(ARGV[1])", "false", "tests/pages/test_guards.py"
    ),
    "page without its seal": Mutant("cache.store:Cache.claim", "seal == self._seal(source_id, digest)", "True"),
    "seal of any source": Mutant(
        "cache.store:Cache._seal", "{source_id} {self._identity}", "{self._identity}", "tests/cache/test_foreign.py"
    ),
    "claim during an eviction": Mutant(
        "cache.store:Cache.claim", "self._evicting.get(source_id) or self._evicting.get(None)", "None"
    ),
    "eviction of pages alone": Mutant(
        "cache.store:Cache.evict", "(keys.page(number), keys.seal(number), keys.lease(number))", "(keys.page(number),)"
    ),
    "pages before leases": Mutant(
        "cache.store:Cache.evict_all", "self.keys.patterns", "self.keys.patterns[::-1]", "tests/pages/test_guards.py"
    ),
    "pages alone in evict_all": Mutant("cache.store:Cache.evict_all", "self.keys.patterns", "self.keys.patterns[1:]"),
    "failed eviction is believed": Mutant(
        "cache.store:Cache._ask", "self._fail(primaries, str(error) or type(error).__name__)", "pass"
    ),
    "failure of an earlier session": Mutant(
        "cache.store:Cache._fail", "if primaries is self._primaries:", "if True:", "tests/pages/test_guards.py"
    ),
    # The session.
    "session without evict_all": Mutant("cache.session:CacheSession._begin", "await self._cache.evict_all()", "pass"),
    "session trusted although an eviction failed": Mutant(
        "cache.session:CacheSession._begin",
        "if self._cache.failed.is_set():",
        "if False:",
        "tests/cache/test_session.py",
    ),
    "session that keeps the process's pages": Mutant(
        "cache.session:CacheSession._begin", "self._on_invalid(None)", "pass", "tests/cache/test_session.py"
    ),
    "session that ends and keeps the process's pages": Mutant(
        "cache.session:CacheSession.run", "self._on_invalid(None)", "pass", "tests/cache/test_session.py"
    ),
    "session that waits for one cancellation": Mutant(
        "concurrency:end",
        "await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)",
        "await asyncio.wait(pending)",
        "tests/cache/test_session.py",
    ),
    "connection to any server": Mutant(
        "cache.deployment:Pool._is_followed", "self._followed is None or", "True or", "tests/cache/test_foreign.py"
    ),
    "connection left from an earlier session": Mutant(
        "cache.session:CacheSession._begin",
        "await client.connection_pool.disconnect(inuse_connections=False)",
        "pass",
        "tests/cache/test_session.py",
    ),
    "invalidation that nobody hears": Mutant(
        "cache.session:CacheSession._hear", "self._on_invalid(source_id)", "pass", "tests/pages/test_caching.py"
    ),
    "flush that nobody hears": Mutant(
        "cache.session:CacheSession._hear",
        "if name is None:\n            self._on_invalid(None)",
        "if name is None:\n            pass",
        "tests/cache/test_session.py",
    ),
    "silence that nobody asks about": Mutant(
        "cache.link:Link._keep_hearing",
        'raise RedisTimeoutError("no answer to PING")',
        "pass",
        "tests/cache/test_session.py",
    ),
    # The session's own connection.
    "command that opens the connection again": Mutant(
        "cache.link:Link._check",
        " or self.hearing.done() or not self.connection.is_connected",
        "",
        "tests/cache/test_link.py",
    ),
    "eviction that is cancelled and believed": Mutant(
        "cache.store:Cache._ask",
        "there anew.\n        if must_succeed:",
        "there anew.\n        if False:",
        "tests/cache/test_link.py",
    ),
    "claim that waits for the last eviction": Mutant(
        "cache.store:Cache.evict",
        "self._evicting.setdefault(mark, set()).add(done)",
        "self._evicting[mark] = {done}",
        "tests/cache/test_link.py",
    ),
    "end that nobody is told of": Mutant(
        "cache.link:Link._hear", "self._answer(_ended())", "self._asked.popleft()", "tests/cache/test_link.py"
    ),
    "answer that nobody waits for": Mutant(
        "cache.link:Link._answer", "elif not asked.done():", "else:", "tests/cache/test_link.py"
    ),
    "reader that Redis never ends": Mutant(
        "cache.link:Link._track", 'await self._tell("SUBSCRIBE", _CHANNEL)', "pass", "tests/cache/test_link.py"
    ),
    "pooled connection that was reset": Mutant(
        "cache.deployment:Pool._is_open", "not connection._writer.is_closing()", "True", "tests/cache/test_link.py"
    ),
    # The cluster.
    "moving slot deleted at one end": Mutant(
        "cache.primaries:Cluster.delete", "await self._delete_moving(key)", "pass", "tests/cache/test_cluster.py"
    ),
    "scan while slots move": Mutant(
        "cache.primaries:Cluster.delete_matching",
        "if before != await self._layout():",
        "if False:",
        "tests/cache/test_cluster.py",
    ),
    # Fills and the process cache.
    "eviction that leaves the process's page": Mutant("pages.details:Pages.drop", "self.memory.drop(ids)", "pass"),
    "eviction that leaves the fill": Mutant(
        "pages.details:Pages.drop", "self._change_fills(ids, _State.DROPPED)", "pass"
    ),
    "doubt that leaves the fill": Mutant(
        "pages.details:Pages.doubt", "self._change_fills(ids, _State.DOUBTED)", "pass", "tests/pages/test_guards.py"
    ),
    "forced fill that the older one replaces": Mutant(
        "pages.details:Pages._start", "before.state = _State.DROPPED", "pass"
    ),
    "page of a dropped fill": Mutant(
        "pages.details:Pages._end", "if fill.state is _State.DROPPED:\n        return", "pass"
    ),
    "page that Redis does not hold": Mutant(
        "pages.details:Pages._end",
        "is_alone or (is_in_redis and self._cache.is_tracked)",
        "True",
        "tests/pages/test_guards.py",
    ),
    "doubted page over a newer one": Mutant(
        "pages.details:Pages._end",
        "if self.memory.last_known(source_id) is None:",
        "if True:",
        "tests/pages/test_guards.py",
    ),
    "unsettled page in Redis": Mutant(
        "pages.filling:Filling._finish", "claim.is_granted and parts.is_settled", "claim.is_granted"
    ),
    "unsettled page in the process": Mutant(
        "pages.details:Pages._end", "answer is None or not answer.is_settled", "answer is None"
    ),
    "unsettled fill that is shared": Mutant(
        "pages.details:Pages.read", "current is not None and not answer.is_settled", "False"
    ),
    "reload that joins a running one": Mutant(
        "pages.details:Pages.reload",
        "await self._reloads.pass_through(source_id, fill)",
        "await asyncio.shield((self._current(source_id) or self._start(source_id, force=True)).task)",
    ),
    "reload that reads Redis": Mutant("pages.details:Pages.reload", "force=True", "force=False"),
    "page past its life": Mutant(
        "pages.memory:Memory.get", "page.expires <= monotonic()", "False", "tests/pages/test_guards.py"
    ),
    "process cache without a bound": Mutant(
        "pages.memory:Memory._weigh", "while self.bytes > self._limit:", "while False:", "tests/pages/test_guards.py"
    ),
    "page above the limit": Mutant(
        "pages.memory:Memory.put", "len(page.body) > self._limit", "False", "tests/pages/test_guards.py"
    ),
    "doubt that keeps the page current": Mutant(
        "pages.memory:Memory.doubt", "self._current.difference_update(source_ids)", "pass"
    ),
    # Syncs and what they publish.
    "sync that joins a running one": Mutant(
        "concurrency:Turnstile.pass_through",
        "elif (waiting := self._waiting.get(key)) is not None:\n        task = waiting",
        "elif True:\n        task = running",
    ),
    "sync that evicts nothing": Mutant(
        "sources.sync:Synchronizer._finish", "if report.count or self._callers[address.id]:", "if False:"
    ),
    "publication that hides a sync": Mutant(
        "sources.publication:Publications.of", "held.recorded == _digest(recorded)", "True"
    ),
    # Open pages.
    "open page that hears nothing": Mutant("web.live:Live._hear", "self._rooms[source_id].notice_change()", "pass"),
    "room that does not look first": Mutant(
        "web.rooms:Room.__init__", "self._changed.set()", "pass", "tests/web/test_live.py"
    ),
    "portrait with what is older than its page": Mutant(
        "web.live:Live._run", " and not room.is_to_be_read", "", "tests/web/test_open_page.py"
    ),
    "portrait with what is older than another process's page": Mutant(
        "web.live:Live._run", 'answer.found == "computed" and ', "", "tests/web/test_open_page.py"
    ),
    "page that reconnects and catches up with nothing": Mutant(
        "web.rooms:Room._missed", "if since == self._portrait.version:", "if True:"
    ),
    "fragments that are not forgotten": Mutant(
        "pages.details:Pages.drop", "self.fragments.forget()", "pass", "tests/pages/test_fragments.py"
    ),
    "fragments of before they were forgotten": Mutant(
        "pages.fragments:KeptFragments.keep", "generation != self.generation or ", "", "tests/pages/test_fragments.py"
    ),
    "row of another epoch": Mutant(
        "pages.fragments:Fragments.named_texts",
        "self.generation, self.epoch, table, version",
        "0, '', table, version",
        "tests/pages/test_fragments.py",
    ),
    # The listener.
    "reader of a socket that is lost": Mutant(
        "database.notifications:receive", "if failure is None:", "if True:", "tests/database/test_receiving.py"
    ),
    "reset behind the last bytes": Mutant(
        "database.notifications:receive",
        "timeout=min(left, _LOOK_AGAIN_S)",
        "timeout=left",
        "tests/database/test_receiving.py",
    ),
    "notification that comes with an answer": Mutant(
        "database.notifications:receive", "pgconn.notify_handler = tell", "pass", "tests/database/test_receiving.py"
    ),
    "reconnect that evicts nothing": Mutant(
        "pages.listener:Listener._connect", 'await self._pages.evict(None, "reconnect")', "pass"
    ),
    "notification that waits for its turn": Mutant(
        "pages.listener:Listener._hear", "self._pages.drop(source_ids)", "pass", "tests/pages/test_listener.py"
    ),
    "deaf connection": Mutant("pages.listener:Listener._prove", "raise DeafError", "pass"),
    "notification of one more source": Mutant(
        "pages.listener:Listener._hear", "self._received.update(source_ids)", "self._received = set(source_ids)"
    ),
}
