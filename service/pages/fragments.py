"""The fragments of pages, one for each table: a process keeps those of the pages that it has computed.

The database says of which fragments a page is made, and sends only those that the process lacks: a change costs what it
changes. What is kept is never old: a fragment is told by the database's epoch, its table, the table's version, and the
version of its row.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, pairwise, repeat
from typing import Any

# What a table's numbers take in memory, beside its fragment.
_TABLE_BYTES = 200

# A generation, an epoch, a table's id, its version, and the version of its row.
Identity = tuple[int, str, int, int, int]


@dataclass(frozen=True, slots=True)
class Fragments:
    """Those of one page, inside its body. `starts` are their places, and one more: where the next one would begin."""

    epoch: str
    ids: Sequence[int]
    versions: Sequence[int]
    row_versions: Sequence[int | None]
    body: bytes = b""
    starts: Sequence[int] = (0,)
    generation: int = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statement `details` takes them. Arrays as text: psycopg makes those of numbers one by one."""
        return {
            "kept_epoch": self.epoch,
            "kept_ids": _array(self.ids),
            "kept_versions": _array(self.versions),
            "kept_row_versions": _array(self.row_versions),
        }

    @property
    def weight(self) -> int:
        """About the bytes that they take in memory."""
        return len(self.body) + _TABLE_BYTES * len(self.ids)

    def texts(self) -> list[memoryview]:
        """The fragments in their order."""
        body = memoryview(self.body)
        return [body[start : end - 1] for start, end in pairwise(self.starts)]

    def named_texts(self) -> list[tuple[Identity | None, memoryview]]:
        """The same, each with what tells it from every other text that this process has seen; None if nothing does."""
        numbers = zip(self.ids, self.versions, self.row_versions, self.texts(), strict=True)
        return [
            (None if row_version is None else (self.generation, self.epoch, table, version, row_version), text)
            for table, version, row_version, text in numbers
        ]

    def around(self) -> bytes:
        """The body as it would be without tables."""
        if not self.ids:
            return self.body
        return self.body[: self.starts[0]] + self.body[self.starts[-1] - 1 :]


NONE = Fragments("", (), (), ())


def _array(numbers: Sequence[int | None]) -> str:
    return "{" + ",".join("NULL" if number is None else str(number) for number in numbers) + "}"


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a page: `pieces` are their fragments with commas in between, which begin at `start` in its body."""

    pieces: list[bytes | memoryview]
    start: int
    fragments: Fragments

    def inside(self, body: bytes) -> Fragments:
        """The fragments in the finished body."""
        lengths = (len(fragment) + 1 for fragment in self.pieces[::2])
        starts = list(accumulate(lengths, initial=self.start))
        return replace(self.fragments, body=body, starts=starts)


def tables_of(row: dict[str, Any], kept: Fragments) -> Tables:
    """The tables of a row of `page.row_of`, for which the fragments in `kept` were not sent."""
    ids, sent = row["ids"], row["fragments"]
    held = dict(zip(kept.ids, kept.texts(), strict=True)) if len(sent) < len(ids) else {}
    whole = (sent[place] if place in sent else held[table] for place, table in enumerate(ids, 1))
    pieces = list(chain.from_iterable(zip(whole, repeat(b","))))[:-1]
    own = Fragments(row["epoch"], ids, row["versions"], row["row_versions"])
    return Tables(pieces, len(row["before_tables"]), own)


class KeptFragments:
    """Fragments by source id, bounded in bytes; the least recently used go first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._of: OrderedDict[int, Fragments] = OrderedDict()
        self.bytes = 0
        self.generation = 0

    def of(self, source_id: int) -> Fragments:
        """What is kept of a source's last page."""
        kept = self._of.get(source_id)
        if kept is None:
            return NONE
        self._of.move_to_end(source_id)
        return kept

    def keep(self, source_id: int, fragments: Fragments, generation: int) -> None:
        """Keeps them instead of the earlier ones, if `generation` is still the one of when they were asked for."""
        self._remove(source_id)
        # An id that two tables have (a sequence that was set back by hand) names no fragment.
        is_named = len(set(fragments.ids)) == len(fragments.ids)
        if generation != self.generation or fragments.weight > self._limit or not is_named:
            return
        self._of[source_id] = replace(fragments, generation=generation)
        self.bytes += fragments.weight
        while self.bytes > self._limit:
            self._remove(next(iter(self._of)))

    def forget(self) -> None:
        """Forgets all of them: numbers of rows may have been given twice, or other functions may make the texts."""
        self._of.clear()
        self.bytes = 0
        self.generation += 1

    def _remove(self, source_id: int) -> None:
        kept = self._of.pop(source_id, None)
        if kept is not None:
            self.bytes -= kept.weight
