"""A source's web page as HTML in parts, so that an open page receives only the parts that changed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any

import msgspec
from markupsafe import Markup

from service.http.templates import macros, render
from service.pages.fragments import Identity
from service.pages.page import Page
from service.sources.publication import ANSWERED
from service.web import chart
from service.web.chart import SHORTEST, SPANS, Sample
from service.web.lag import thresholds

_NOT_JUDGED: dict[str, Any] = {"level": "unknown", "reasons": []}
_NOTHING_MORE: dict[str, Any] = {
    "synced_at": None,
    "seen": None,
    "lag": [],
    "thresholds": None,
    "slot": None,
    "pipelines": None,
    "changed_lately": {},
}
SORTS = ("name", "version", "columns", "changed")


# A table's JSON, as it is in a page.
Text = msgspec.Raw | memoryview


class Details(msgspec.Struct):
    """A page's JSON. Each of its tables stays text: most are as they were in the portrait before."""

    source: dict[str, Any]
    wal_monitor: dict[str, Any] | None
    tables: list[msgspec.Raw]
    destinations: list[str]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """The row of a table with its digest, what it was drawn from (the table's text by its identity and by a digest, its
    last change), and what rows are sorted by.
    """

    html: str
    html_digest: bytes
    element: str
    table_id: int
    identity: Identity | None
    digest: bytes
    change: Any
    name: str
    version: int
    columns: int
    changed_at: str


@dataclass(frozen=True)
class Portrait:
    """One state of a source as a page shows it. `parts` and `rows` are HTML by element id."""

    source_id: int
    name: str
    level: str
    digest: str
    parts: dict[str, str]
    rows: dict[str, Row]
    facts: dict[str, Any]
    _pages: dict[str, Page] = field(default_factory=dict)

    @cached_property
    def version(self) -> str:
        """The same for the same parts, in every process."""
        digest = blake2b(digest_size=12)
        for text in self.parts.values():
            digest.update(text.encode())
        digest.update(b"".join([row.html_digest for row in self.rows.values()]))
        return digest.hexdigest()

    @cached_property
    def marked_parts(self) -> dict[str, Markup]:
        """The parts, marked as HTML for a template."""
        return {name: Markup(text) for name, text in self.parts.items()}  # noqa: S704  # from templates that escape

    @cached_property
    def weight(self) -> int:
        """About the bytes that it takes in memory: its own texts, and the finished page made of them."""
        return 2 * sum(map(len, self.parts.values())) + 3 * sum(len(row.html) for row in self.rows.values())

    def freshness(self, *, is_old: bool, failing_since: datetime | None) -> str:
        """The part that says when and where the page was read. Not part of the version: every read changes it."""
        since = failing_since.isoformat() if failing_since else None
        return render("freshness.html", is_old=is_old, failing_since=since, **self.facts).strip()

    def page(self, key: str, make: Callable[[], Page]) -> Page:
        """The finished page for a key, made once."""
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = make()
        return page

    def changes_since(self, older: "Portrait") -> dict[str, str] | None:
        """The elements to replace, by id. None if rows came, left or moved: then the whole page has to be read."""
        if list(self.rows) != list(older.rows) or self.name != older.name:
            return None
        changed = {name: html for name, html in self.parts.items() if html != older.parts[name]}
        return changed | {name: row.html for name, row in self.rows.items() if row.html != older.rows[name].html}

    def selected(self, search: str, sort: str) -> list[str]:
        """The rows whose table name contains `search`, sorted."""
        rows = [row for row in self.rows.values() if search.lower() in row.name.lower()]
        if sort == "version":
            rows.sort(key=lambda row: -row.version)
        elif sort == "columns":
            rows.sort(key=lambda row: -row.columns)
        elif sort == "changed":
            rows.sort(key=lambda row: row.changed_at, reverse=True)
        return [row.html for row in rows]


def draw(
    details: Details,
    tables: Sequence[tuple[Identity | None, Text]],
    digest: str,
    extras: dict[str, Any] | None,
    lag: Sequence[Sample],
    before: Portrait | None,
) -> Portrait:
    """Draws a page's JSON, with the texts of its tables. `extras` is the row of `portrait_extras`, None if it cannot be
    read.

    Rows of `before`, an earlier portrait of the same source, are taken over if their tables have not changed.
    """
    source, wal, meta = details.source, details.wal_monitor, details.meta
    more = extras or _NOTHING_MORE
    lately = {int(table_id): change for table_id, change in more["changed_lately"].items()}
    check = meta["publication_check"]
    draw_part = macros("parts.html")
    parts = {
        # A page that an earlier version of the service stored has no health, until it expires.
        "part-state": draw_part.state(meta.get("health", _NOT_JUDGED)["level"]),
        "part-health": draw_part.health(meta.get("health", _NOT_JUDGED)),
        "part-connection": draw_part.connection(source),
        # A page that an earlier version of the service stored has no drift, until it expires.
        "part-figures": draw_part.figures(wal, more, tables, meta.get("drift"), meta.get("outlook")),
        "part-lag": draw_part.lag(
            chart.draw(lag, thresholds(more["thresholds"])), SHORTEST, SPANS, has_history=bool(more["lag"])
        ),
        "part-replication": draw_part.replication(source, wal, more, meta.get("outlook")),
        "part-destinations": draw_part.destinations(details.destinations, more),
        "part-count": draw_part.count(tables, meta.get("drift"), source, more),
    }
    return Portrait(
        source_id=source["id"],
        name=source["name"],
        level=meta.get("health", _NOT_JUDGED)["level"],
        digest=digest,
        parts={name: _text(html) for name, html in parts.items()},
        rows={row.element: row for row in _rows(tables, lately, before)},
        facts={
            "as_of": meta["as_of"],
            "read_from": meta["read_from"],
            "trouble": None if check in ANSWERED else check,
            "synced_at": more["synced_at"],
        },
    )


def _rows(
    tables: Sequence[tuple[Identity | None, Text]], lately: dict[int, Any], before: Portrait | None
) -> Iterator[Row]:
    draw_row = macros("parts.html").row
    held = () if before is None else before.rows.values()
    by_identity, by_digest = {row.identity: row for row in held}, {row.digest: row for row in held}
    for identity, text in tables:
        known = None if identity is None else by_identity.get(identity)
        digest = blake2b(text, digest_size=16).digest() if known is None else known.digest
        row = known or by_digest.get(digest)
        if row is None or row.change != lately.get(row.table_id):
            table = msgspec.json.decode(text)
            change = lately.get(table["id"])
            html = _text(draw_row(table, change))
            row = Row(
                html=html,
                html_digest=blake2b(html.encode(), digest_size=16).digest(),
                element=f"table-{table['id']}",
                table_id=table["id"],
                identity=identity,
                digest=digest,
                change=change,
                name=table["table_name"],
                version=table["version"],
                columns=len(table["schema_table"]),
                changed_at=change[1] or "" if change else "",
            )
        elif known is None and identity is not None:
            # The page before came from another process, or was written anew without a change: next time this one is
            # known without a look at its text.
            row = replace(row, identity=identity)
        yield row


def _text(html: str) -> str:
    # A plain str: joining Markup with other text would escape that text.
    return str.__str__(html).strip()
