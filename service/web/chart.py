"""The chart of the lag over time: axes in units that people use, and gaps for times that were not measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from service.units import amount

LEFT, RIGHT = 76, 630
# Room for the times below the last panel.
_BELOW = 24
# The monitor measures every minute or so: much longer without a measurement is a gap, and no line.
_SHORTEST_GAP_S = 180
_GAP_OF_USUAL = 3
# A threshold further above the highest value would press the line to the bottom. It is drawn when it comes near.
_NEAR = 3


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a panel is, and into how many steps its axis is divided."""

    top: int
    bottom: int
    steps: int


_LAG = _Place(top=22, bottom=128, steps=4)
_KEPT = _Place(top=160, bottom=214, steps=2)


@dataclass(frozen=True, slots=True)
class Span:
    """A time that the chart can show: its name in URLs, its words, and the width of what is drawn as one point."""

    name: str
    words: str
    lasts: timedelta
    bucket: timedelta


SPANS = {
    span.name: span
    for span in (
        Span("1h", "hour", timedelta(hours=1), timedelta(seconds=30)),
        Span("24h", "24 hours", timedelta(hours=24), timedelta(minutes=10)),
        Span("7d", "7 days", timedelta(days=7), timedelta(hours=1)),
    )
}
SHORTEST = SPANS["1h"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at one time: the lag and the WAL that the slot retains in bytes, and the lag in seconds.

    None: not known.
    """

    when: datetime
    lag: int
    kept: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, or a threshold: its place in the drawing, and its label."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve with an axis of its own. `lines` are the points of unbroken stretches."""

    name: str
    top: int
    lines: tuple[str, ...]
    ticks: tuple[Tick, ...]
    thresholds: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws: the lag, and below it, if it is known, the WAL that the slot retains.

    `words` say the same to people who listen; `points` is JSON for the readout: `[x, epoch seconds, lag, kept, lag in
    seconds]` each.
    """

    words: str
    height: int
    panels: tuple[Panel, ...]
    times: tuple[Tick, ...]
    points: str


def samples(rows: Sequence[Sequence[Any]]) -> list[Sample]:
    """Samples from the rows of `lag_samples`."""
    return [Sample(datetime.fromisoformat(when), lag, kept, seconds) for when, lag, kept, seconds in rows]


def draw(
    measured: Sequence[Sample], thresholds: Mapping[str, int] | None = None, until: tuple[Span, datetime] | None = None
) -> Chart | None:
    """The chart of at least two samples in the order of time; None for fewer.

    `thresholds` (bytes of retained WAL, by name) are drawn when something comes near. The axis begins and ends with the
    samples, or, with `until`, ends there and is a span long.
    """
    if len(measured) < 2:
        return None
    first, last = measured[0].when, measured[-1].when
    if until:
        first, last = until[1] - until[0].lasts, until[1]
    length = (last - first).total_seconds() or 1.0

    def across(when: datetime) -> float:
        return LEFT + max((when - first).total_seconds(), 0) / length * (RIGHT - LEFT)

    stretches = [[(across(each.when), each) for each in stretch] for stretch in _stretches(measured)]
    lag = _panel("lag", _LAG, [[(x, each.lag) for x, each in stretch] for stretch in stretches], {})
    kept = [[(x, each.kept) for x, each in stretch if each.kept is not None] for stretch in stretches]
    panels = (lag, _panel("WAL kept by the slot", _KEPT, kept, thresholds or {})) if any(kept) else (lag,)
    most = max(measured, key=lambda sample: sample.lag)
    how = "%H:%M" if length <= 86_400 else "%a %H:%M"
    return Chart(
        words=(
            f"Lag from {first:{how}} to {last:{how}} UTC: {amount(measured[-1].lag)} at the end, "
            f"at most {amount(most.lag)} at {most.when:{how}}."
        ),
        height=(_KEPT if any(kept) else _LAG).bottom + _BELOW,
        panels=panels,
        times=tuple(
            Tick(LEFT + number / 4 * (RIGHT - LEFT), f"{first + (last - first) * number / 4:{how}}")
            for number in range(5)
        ),
        points=json.dumps(
            [
                [round(across(each.when), 1), round(each.when.timestamp()), each.lag, each.kept, each.seconds]
                for each in measured
            ],
            separators=(",", ":"),
        ),
    )


def _panel(
    name: str, place: _Place, stretches: Sequence[Sequence[tuple[float, int]]], thresholds: Mapping[str, int]
) -> Panel:
    highest = max(value for stretch in stretches for _, value in stretch)
    near = {name: size for name, size in thresholds.items() if size <= highest * _NEAR}
    step = _step(max(highest, *near.values()) if near else highest, place.steps)

    def height(value: float) -> float:
        return place.bottom - max(value, 0) / (step * place.steps) * (place.bottom - place.top)

    return Panel(
        name=name,
        top=place.top,
        lines=tuple(
            " ".join(f"{x:.1f},{height(value):.1f}" for x, value in stretch) for stretch in stretches if stretch
        ),
        ticks=tuple(Tick(height(step * number), amount(step * number)) for number in range(place.steps + 1)),
        thresholds=tuple(Tick(height(size), name) for name, size in near.items()),
    )


def _step(most: int, steps: int) -> int:
    """The smallest power of two of which so many make `most`."""
    step = 256
    while step * steps < most:
        step *= 2
    return step


def _stretches(measured: Sequence[Sample]) -> list[list[Sample]]:
    pauses = [(later.when - earlier.when).total_seconds() for earlier, later in pairwise(measured)]
    gap = max(_GAP_OF_USUAL * median(pauses), _SHORTEST_GAP_S)
    stretches = [[measured[0]]]
    for pause, sample in zip(pauses, measured[1:], strict=True):
        if pause > gap:
            stretches.append([])
        stretches[-1].append(sample)
    return stretches
