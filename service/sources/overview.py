"""All sources at a look: which are in trouble, in which order to show them, and what a search finds among them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.concurrency import Turnstile
from service.database.pool import ConfigDatabase
from service.sources.health import LEVELS, Level, Reason, health

# A deployment of more sources than this sees the first of them.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Listed:
    """One source. `reasons` have the worst first; `lag_bytes` and `synced_at` (ISO 8601) are None if not known."""

    id: int
    name: str
    place: str
    level: Level
    reasons: tuple[Reason, ...]
    tables: int
    lag_bytes: int | None
    synced_at: str | None

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "place": self.place,
            "state": self.level,
            "reasons": [reason.says for reason in self.reasons],
            "tables": self.tables,
            "lag_bytes": self.lag_bytes,
            "synced_at": self.synced_at,
        }

    @property
    def words(self) -> str:
        """All that a person sees of it, in lower case."""
        said = " ".join(reason.says for reason in self.reasons)
        return f"{self.name} {self.place} {self.level} {said}".lower()


# By what the list can be sorted. Equal ones stay in the order of their names.
SORTS: Mapping[str, Callable[[Listed], Any]] = {
    "state": lambda source: LEVELS.index(source.level),
    "name": lambda _: 0,
    "tables": lambda source: -source.tables,
    "lag": lambda source: 1 if source.lag_bytes is None else -source.lag_bytes,
    "synced": lambda source: source.synced_at or "",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The sources that match, in order, and how many of all that contain the searched text are in each state."""

    sources: Sequence[Listed]
    counts: Mapping[Level, int]

    @property
    def found(self) -> int:
        """How many contain the searched text, in any state."""
        return sum(self.counts.values())


def select(sources: Sequence[Listed], *, search: str, state: str, sort: str) -> Selection:
    """Those that show `search` somewhere, in one state ("" for any), sorted by one of SORTS."""
    found = [source for source in sources if search.lower() in source.words]
    counts = Counter(source.level for source in found)
    chosen = [source for source in found if state in ("", source.level)]
    return Selection(sorted(chosen, key=SORTS[sort]), {level: counts[level] for level in LEVELS})


class Overview:
    """Reads and judges every source. Callers who wait at the same time share one read; it starts after their calls."""

    def __init__(self, database: ConfigDatabase, failing: Callable[[], Mapping[int, str]]) -> None:
        self._database = database
        self._failing = failing
        self._reads: Turnstile[None, Sequence[Listed]] = Turnstile()

    async def sources(self) -> Sequence[Listed]:
        """All sources by name, up to MOST. ConfigDatabaseUnavailableError."""
        return await self._reads.pass_through(None, self._read)

    async def _read(self) -> Sequence[Listed]:
        rows = await self._database.fetch_all("overview", most=MOST)
        failing = self._failing()
        return [_listed(row, failing.get(row["id"])) for row in rows]


def _listed(row: Mapping[str, Any], not_answering: str | None) -> Listed:
    judged = health(row["health_facts"], not_answering)
    return Listed(
        id=row["id"],
        name=row["name"],
        place=f"{row['pg_host']}:{row['pg_port']}/{row['pg_database']}",
        level=judged.level,
        reasons=judged.reasons,
        tables=row["tables"],
        lag_bytes=row["replication_lag_bytes"],
        synced_at=row["synced_at"],
    )
