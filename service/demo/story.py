"""The demo's story: everything that a person can try, done and measured by `--check`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg

from service.cache.deployment import operator_client
from service.cache.keys import Keys
from service.database.queries import query
from service.demo import shop
from service.demo.product import Demo
from service.pages.fragments import NONE

_KEY = Keys().page(1)
_TABLES = 50
_READS = 200
_CHANGES = 1000
_PATIENCE_S = 10.0
# The defaults of ROSETTA_SYNC_BUDGET_MS and ROSETTA_PUBLICATION_BUDGET_MS, which the demo runs with.
_SYNC_BUDGET_MS = 5000
_PAGE_BUDGET_MS = 250


class StoryError(Exception):
    """A step failed."""


def plan() -> str:
    """What `tell` will do, for a person to read before it."""
    return "\n".join(["It will", *(f"  {number:2}. {what}" for number, (what, _) in enumerate(_PARTS, 1))])


def tell(demo: Demo) -> int:
    """Runs the story against the running demo; 0, or 1 after printing what failed."""
    story = _Story(demo)
    try:
        story.tell()
    except StoryError as error:
        print(f"  FAILED   {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        story.close()
    print("everything works", flush=True)
    return 0


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise StoryError(otherwise)


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    times.append((time.perf_counter() - started) * 1000)


class _Story:
    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._http = httpx.Client(base_url=demo.url, timeout=20)
        self._redis = operator_client(demo.redis.url)
        self._config = psycopg.connect(demo.config_dsn, autocommit=True)
        self._source = psycopg.connect(demo.source_dsn, autocommit=True)

    def close(self) -> None:
        for client in (self._http, self._redis, self._config, self._source):
            client.close()

    def tell(self) -> None:
        for _, part in _PARTS:
            part(self)

    @contextmanager
    def _step(self, name: str) -> Iterator[Callable[[str], None]]:
        notes: list[str] = []
        started = time.perf_counter()
        try:
            yield notes.append
        except StoryError as error:
            raise StoryError(f"{name}: {error}") from None
        took = (time.perf_counter() - started) * 1000
        print(f"  {took:8.1f} ms  {name}{': ' if notes else ''}{', '.join(notes)}", flush=True)

    def _page(self, **options: Any) -> httpx.Response:
        response = self._http.get("/api/v1/sources/1/details", **options)
        _expect(response.status_code in (200, 304), f"status {response.status_code}: {response.text[:200]}")
        return response

    def _synced(self) -> dict[str, Any]:
        body: dict[str, Any] = self._page(params={"force_refresh": "true"}).json()
        return body

    def _until_evicted(self) -> float:
        """Milliseconds from the call until the page's key is gone."""
        started = time.perf_counter()
        while self._redis.exists(_KEY):
            if time.perf_counter() - started > _PATIENCE_S:
                raise StoryError(f"the key {_KEY} was not evicted within {_PATIENCE_S:.0f} s")
        return (time.perf_counter() - started) * 1000

    def _read_and_cache(self) -> None:
        self._redis.delete(_KEY)
        with self._step("miss") as note:
            miss = self._page()
            _expect("fwd=miss" in miss.headers["Cache-Status"], miss.headers["Cache-Status"])
            _expect(len(miss.json()["tables"]) == _TABLES, f"{len(miss.json()['tables'])} tables")
            note(f"{len(miss.content)} bytes")
        with self._step("hit") as note:
            hit = self._page()
            _expect("; hit" in hit.headers["Cache-Status"], hit.headers["Cache-Status"])
            _expect(hit.content == miss.content, "the bytes of the hit differ from the miss's")
            ttl = self._redis.ttl(_KEY)
            _expect(isinstance(ttl, int) and 0 < ttl <= 30, f"TTL {ttl} in Redis")
            note(f"same bytes, {hit.headers['Cache-Status']}, TTL {ttl} in Redis")
        with self._step("304 on the ETag"):
            unchanged = self._page(headers={"If-None-Match": hit.headers["ETag"]})
            _expect(unchanged.status_code == 304 and not unchanged.content, f"status {unchanged.status_code}")

    def _measure_reads(self) -> None:
        with self._step(f"{_READS} misses, hits and bare statements in turn") as note:
            times: dict[str, list[float]] = {"miss": [], "hit": [], "bare statement": []}
            for _ in range(_READS):
                with _timed(times["bare statement"]):
                    self._config.execute(
                        query("details"), {"id": 1, "names": None} | NONE.parameters, prepare=True, binary=True
                    ).fetchall()
                self._redis.delete(_KEY)
                with _timed(times["miss"]):
                    self._page()
                self._page()
                with _timed(times["hit"]):
                    self._page()
            note(
                ", ".join(f"{what} {sorted(taken)[_READS // 2]:.2f} ms" for what, taken in times.items()) + " (medians)"
            )

    def _change_by_sql(self) -> None:
        with self._step("UPDATE by SQL alone evicts, and the next read shows it") as note:
            self._page()
            self._config.execute("UPDATE destinations SET name = 'data lake' WHERE name = 'analytics'")
            note(f"evicted {self._until_evicted():.1f} ms after the commit")
            _expect("data lake" in self._page().json()["destinations"], "the next read shows the old name")

    def _delete_by_hand(self) -> None:
        with self._step("DEL by hand is honoured"):
            self._page()
            self._page()
            self._redis.delete(_KEY)
            # Redis notifies the process caches, which takes as long as a message.
            deadline = time.perf_counter() + _PATIENCE_S
            while "; hit" in self._page().headers["Cache-Status"]:
                _expect(time.perf_counter() < deadline, "the process still serves the deleted page")
                self._redis.delete(_KEY)

    def _change_at_the_source(self) -> None:
        self._source.execute("ALTER TABLE customers ADD COLUMN nickname text")
        self._source.execute("CREATE TABLE gift_cards (id bigint PRIMARY KEY, amount numeric(12, 2) NOT NULL)")
        self._source.execute(f"ALTER PUBLICATION {shop.PUBLICATION} ADD TABLE gift_cards")
        with self._step("force_refresh finds an altered and a new table") as note:
            page = self._synced()
            versions = {table["table_name"]: table["version"] for table in page["tables"]}
            _expect(
                versions.get("customers") == 2, f"customers has version {versions.get('customers')}: {page['meta']}"
            )
            _expect(versions.get("gift_cards") == 1, "gift_cards is missing")
            sync = page["meta"]["sync"]
            _expect(sync["tables_added"] == ["gift_cards"], f"added: {sync['tables_added']}")
            _expect([table["table_name"] for table in sync["tables_changed"]] == ["customers"], str(sync))
            note(f"customers is version 2 ({sync['tables_changed'][0]['changes_type']}), phases {sync['phases_ms']}")

    def _widen_a_column(self) -> None:
        with self._step("a varchar is widened at the source: a version that names both lengths") as note:
            self._source.execute("ALTER TABLE customers ALTER title TYPE varchar(400)")
            (customers,) = (table for table in self._synced()["tables"] if table["table_name"] == "customers")
            schema = self._http.get(f"/api/v1/sources/tables/{customers['id']}/schema").json()
            _expect(customers["version"] == 3, f"customers has version {customers['version']}")
            change = schema["diff"]["type_changes"].get("title")
            lengths = {"old_type": "character varying(200)", "new_type": "character varying(400)"}
            _expect(change == lengths, f"the difference says {schema['diff']}")
            note(f"version 3: title from {change['old_type']} to {change['new_type']}")

    def _refresh_by_hand(self) -> None:
        with self._step("REFRESH MATERIALIZED VIEW by SQL alone evicts") as note:
            self._page()
            self._config.execute("REFRESH MATERIALIZED VIEW source_details_tables")
            note(f"evicted {self._until_evicted():.1f} ms after the commit")

    def _measure_evictions(self) -> None:
        with self._step(f"{_CHANGES} changes, each read back") as note:
            times = []
            for number in range(_CHANGES):
                self._page()
                name = f"lake {number}"
                self._config.execute("UPDATE destinations SET name = %s WHERE id = 1", (name,))
                times.append(self._until_evicted())
                _expect(name in self._page().json()["destinations"], f"stale after change {number}")
            times.sort()
            median, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
            note(f"commit to evicted: median {median:.2f} ms, p99 {p99:.2f} ms, none stale")

    def _lose_the_source(self) -> None:
        self._source.close()
        self._demo.source.stop("immediate")
        times: list[float] = []
        with self._step("source stopped: force_refresh answers the last known page") as note:
            with _timed(times):
                page = self._synced()
            _expect(page["meta"]["sync"]["outcome"] == "failed", str(page["meta"]["sync"]))
            _expect(len(page["tables"]) == _TABLES + 1, f"{len(page['tables'])} tables")
            _expect(times[-1] < _SYNC_BUDGET_MS, f"it took {times[-1]:.0f} ms")
            note(f"within its budget of {_SYNC_BUDGET_MS} ms")
        with self._step("source stopped: a page answers") as note:
            self._redis.delete(_KEY)
            with _timed(times):
                _expect(len(self._page().json()["tables"]) == _TABLES + 1, "tables are missing")
            _expect(times[-1] < _PAGE_BUDGET_MS, f"it took {times[-1]:.0f} ms")
            note(f"within its budget of {_PAGE_BUDGET_MS} ms")

    def _lose_redis(self) -> None:
        self._demo.redis.stop()
        with self._step("redis stopped: a page answers") as note:
            note(self._page().headers["Cache-Status"])
        with self._step("redis stopped: a change by SQL shows"):
            self._config.execute("UPDATE destinations SET name = 'without redis' WHERE id = 1")
            deadline = time.perf_counter() + _PATIENCE_S
            while "without redis" not in self._page().json()["destinations"]:
                _expect(time.perf_counter() < deadline, "the old name is still shown")


_PARTS: tuple[tuple[str, Callable[[_Story], None]], ...] = (
    ("read a page, from the database, from the cache, and as unchanged", _Story._read_and_cache),
    (f"measure {_READS} misses and hits", _Story._measure_reads),
    ("rename a destination by SQL, and see the page evicted", _Story._change_by_sql),
    ("delete the page's key in Redis", _Story._delete_by_hand),
    ("alter, add and publish tables at the source, and find them by force_refresh", _Story._change_at_the_source),
    ("widen a column there", _Story._widen_a_column),
    ("refresh the materialized view by SQL", _Story._refresh_by_hand),
    (f"rename {_CHANGES} times, and measure the time to each eviction", _Story._measure_evictions),
    ("stop the source, and see pages answer in their time", _Story._lose_the_source),
    ("stop Redis, and see pages answer from the database", _Story._lose_redis),
)
