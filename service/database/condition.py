"""What is wrong with the service's objects in the database: for the health report and for `rosetta doctor`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REPAIR = "rosetta migrate --repair"
# PostgreSQL itself warns in its log once the queue is half full.
_CROWDED = 0.25


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with `subject`, and its remedy. `is_broken`: pages may be wrong, or writers may fail."""

    subject: str
    says: str
    remedy: str
    is_broken: bool = True


def find_troubles(view: Mapping[str, Any]) -> Iterator[Trouble]:
    """The troubles in a row of `view_state`; none if the row is empty."""
    if not view:
        return
    if not view["has_view"]:
        yield Trouble("view", "missing, so every page is computed anew", f"run {REPAIR}", is_broken=False)
    if view["triggers_missing"]:
        yield Trouble(
            "triggers",
            f"{view['triggers_missing']} of {view['triggers_wanted']} are missing or not ENABLE ALWAYS, "
            "so changes are not noticed",
            f"run {REPAIR}",
        )
    if not view["has_event_trigger"]:
        yield Trouble(
            "event trigger",
            "missing, so a manual REFRESH and an ALTER TABLE are only found by polling",
            f"run {REPAIR} as a superuser, once",
            is_broken=False,
        )
    if view["notification_queue"] > _CROWDED:
        yield Trouble(
            "notification queue",
            f"{view['notification_queue']:.0%} full; once it is full, writes to the config database fail",
            "a listening session stays in a transaction: find it in pg_stat_activity and end it",
        )
