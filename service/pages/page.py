"""A page as it was computed, and as a reader gets it."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from service.pages.memory import Page


@dataclass(frozen=True, slots=True)
class Answer:
    """A page and where it came from. `computed` holds the page's parts where this very call computed it."""

    page: Page
    found: Literal["memory", "redis", "computed", "last known"]
    is_stored: bool = False
    is_collapsed: bool = False
    computed: "Computed | None" = None


@dataclass(frozen=True, slots=True)
class Computed:
    """A page as read: its JSON up to `meta`, and the facts for `meta`."""

    head: bytes
    meta: dict[str, Any]
    names: frozenset[str] | None

    def body(self, **more: Any) -> bytes:
        """The finished JSON, with `more` in its meta."""
        meta = json.dumps(self.meta | more, ensure_ascii=False, separators=(",", ":"))
        return b"".join((self.head, b',"meta":', meta.encode(), b"}"))


def computed(row: dict[str, Any], names: frozenset[str] | None, check: str) -> Computed:
    registered = row["registered_names"]
    unregistered = sorted(names.difference(registered)) if names is not None and registered is not None else []
    meta = {
        "as_of": row["as_of"],
        "tables_from": "metadata" if names is None else "source",
        "read_from": "view" if row["view_is_current"] else "live",
        "publication_check": check,
        "unregistered_tables": unregistered,
        "drift": _drift(row, unregistered),
    }
    return Computed(row["body"], meta, names)


def _drift(row: dict[str, Any], unregistered: list[str]) -> dict[str, Any]:
    # A pipeline carries its whole source: every table that is published and registered, or none.
    shown = row["registered"] - len(row["unpublished_names"])
    return {
        "published": shown + len(unregistered),
        "registered": row["registered"],
        "carried": shown if row["is_carried"] else 0,
        "not_registered": unregistered,
        "not_published": row["unpublished_names"],
    }
