"""A page: as it is computed, as a process keeps it, and as a reader gets it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

import msgspec

from service.cache.digests import digest_of
from service.concurrency import keep
from service.pages.fragments import NONE, Fragments, Tables, tables_of
from service.sources.health import health
from service.sources.publication import is_failure
from service.sources.table_names import display

Head = tuple[int, int, list[tuple[bytes, bytes]]]


@dataclass(slots=True, eq=False)
class Page:
    """A finished body. `expires` is on this process's monotonic clock; `ttl_s` is its whole life."""

    body: bytes
    expires: float
    ttl_s: float
    _digest: str = ""
    _encoded: dict[str, asyncio.Task[bytes]] = field(default_factory=dict)
    _heads: dict[str, Head] = field(default_factory=dict)

    @property
    def ttl(self) -> int:
        """Whole seconds until the page expires; negative afterwards."""
        return round(self.expires - monotonic())

    @property
    def age(self) -> int:
        """Whole seconds since the page was read from the database."""
        return max(0, int(self.ttl_s - (self.expires - monotonic())))

    @property
    def digest(self) -> str:
        """A digest of the body: equal bytes have the same digest in every process."""
        if not self._digest:
            self._digest = digest_of(self.body)
        return self._digest

    def renewed(self, expires: float) -> "Page":
        """The same page with another life."""
        forms = {encoding: form for encoding, form in self._encoded.items() if form.done()}
        return Page(self.body, expires, self.ttl_s, self._digest, forms)

    @property
    def weight(self) -> int:
        """The bytes that the page takes in memory, including its compressed forms."""
        return len(self.body) + sum(len(form.result()) for form in self._encoded.values() if form.done())

    async def encoded(self, encoding: str, encode: Callable[[bytes], bytes], on_made: Callable[[], None]) -> bytes:
        """The body in another encoding, made once, in a thread. `on_made` is called when the page may weigh more."""
        task = self._encoded.get(encoding)
        if task is None:
            task = self._encoded[encoding] = asyncio.ensure_future(asyncio.to_thread(encode, self.body))
            keep(task)
            task.add_done_callback(lambda _: on_made())
        return task.result() if task.done() else await asyncio.shield(task)

    def is_made(self, encoding: str) -> bool:
        """Whether `encoded` has its result already."""
        task = self._encoded.get(encoding)
        return task is not None and task.done()

    def head(self, encoding: str, make: Callable[[int, int], list[tuple[bytes, bytes]]]) -> list[tuple[bytes, bytes]]:
        """The headers that `make` returns for an age and a remaining life. The same list serves a whole second."""
        left = self.expires - monotonic()
        age, ttl = max(0, int(self.ttl_s - left)), round(left)
        held = self._heads.get(encoding)
        if held is None or held[:2] != (age, ttl):
            held = self._heads[encoding] = age, ttl, make(age, ttl)
        return held[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """A page and where it was found. `is_collapsed`: the reader joined a fill that was already running.

    `computed` holds the page's parts if the reader's fill computed the page. `storing` says whether Redis has
    taken a page that was answered before.
    """

    page: Page
    found: Literal["memory", "redis", "computed", "last known"]
    is_stored: bool = False
    is_collapsed: bool = False
    computed: "Computed | None" = None
    storing: asyncio.Task[bool] | None = None

    @property
    def was_stored(self) -> bool:
        """Whether Redis has taken the page after the answer."""
        task = self.storing
        return task is not None and task.done() and not task.cancelled() and task.result()

    @property
    def is_settled(self) -> bool:
        """Whether the page may be kept."""
        return self.computed is None or self.computed.is_settled


@dataclass(frozen=True, slots=True)
class Computed:
    """A page as read from the database: its JSON up to `meta` in parts, and the facts for `meta`.

    A page that `is_settled` may be kept: every later change of it will be told.
    """

    before_tables: bytes
    tables: Tables
    after_tables: bytes
    meta: dict[str, Any]
    names: frozenset[str] | None
    is_settled: bool

    def body(self, **more: Any) -> bytes:
        """The finished JSON, with `more` added to its meta. It is copied once."""
        meta = msgspec.json.encode(self.meta | more)
        return b"".join((self.before_tables, *self.tables.pieces, self.after_tables, b',"meta":', meta, b"}"))


def row_of(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any] | None:
    """The rows of `details` as one: its facts, and as `fragments` those that were sent, by their place on the page."""
    facts = next((facts for _, _, facts in reversed(rows) if facts is not None), None)
    if facts is None:
        return None
    row: dict[str, Any] = msgspec.json.decode(facts)
    for part in ("before_tables", "after_tables"):
        row[part] = row[part].encode()
    row["fragments"] = {place: fragment for place, fragment, _ in rows if fragment is not None}
    return row


def head(row: dict[str, Any]) -> bytes:
    """The JSON of a whole row of `row_of`, up to `meta`."""
    return b"".join((row["before_tables"], *tables_of(row, NONE).pieces, row["after_tables"]))


def computed(row: dict[str, Any], kept: Fragments, names: frozenset[str] | None, check: str) -> Computed:
    """The parts of a page: from a row of `row_of` and the fragments that were kept, from the published tables (None:
    unknown), and how these were found.
    """
    registered = row["registered_names"]
    unknown = names.difference(registered) if names is not None and registered is not None else ()
    unregistered = sorted(map(display, unknown))
    facts = row["health_facts"]
    meta = {
        "as_of": row["as_of"],
        "tables_from": "metadata" if names is None else "source",
        "read_from": "view" if row["view_is_current"] else "live",
        "publication_check": check,
        "unregistered_tables": unregistered,
        "drift": _drift(row, unregistered),
        "outlook": facts and facts["outlook"],
        "health": health(facts, check if is_failure(check) else None).body(),
    }
    tables = tables_of(row, kept)
    return Computed(row["before_tables"], tables, row["after_tables"], meta, names, row["is_settled"])


def _drift(row: dict[str, Any], unregistered: list[str]) -> dict[str, Any]:
    # A pipeline carries its whole source: every table that is published and registered, or none.
    shown = row["registered"] - len(row["unpublished_names"])
    return {
        "published": shown + len(unregistered),
        "registered": row["registered"],
        "carried": shown if row["is_carried"] else 0,
        "not_registered": unregistered,
        "not_published": sorted(map(display, row["unpublished_names"])),
    }
