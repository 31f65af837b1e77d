"""The chart of the lag over time: axes in units that people use, and gaps for times that were not measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from service.http.templates import amount

WIDTH, HEIGHT = 640, 170
LEFT, RIGHT, TOP, BOTTOM = 76, 630, 14, 140
_STEPS = 4
# The monitor measures every minute or so: much longer without a measurement is a gap, and no line.
_SHORTEST_GAP_S = 180
_GAP_OF_USUAL = 3
# A threshold further above the highest value would press the line to the bottom. It is drawn when it comes near.
_NEAR = 3


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
    """What was measured at one time, in bytes: the lag, and the WAL that the slot retains (None: not known)."""

    when: datetime
    lag: int
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, or a threshold: its place in the drawing, and its label."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws.

    `lag` and `kept` are the points of unbroken stretches; `words` say the same to people who listen; `points` is JSON
    for the readout: `[x, epoch seconds, lag, kept]` each.
    """

    words: str
    lag: tuple[str, ...]
    kept: tuple[str, ...]
    thresholds: tuple[Tick, ...]
    vertical: tuple[Tick, ...]
    horizontal: tuple[Tick, ...]
    points: str


def samples(rows: Sequence[Sequence[Any]]) -> list[Sample]:
    """Samples from the rows of `lag_samples`."""
    return [Sample(datetime.fromisoformat(when), lag, kept) for when, lag, kept in rows]


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
    highest = max(max(sample.lag, sample.kept or 0) for sample in measured)
    near = {name: size for name, size in (thresholds or {}).items() if size <= highest * _NEAR}
    step = _step(max(highest, *near.values()) if near else highest)

    def across(when: datetime) -> float:
        return LEFT + max((when - first).total_seconds(), 0) / length * (RIGHT - LEFT)

    def height(value: float) -> float:
        return BOTTOM - max(value, 0) / (step * _STEPS) * (BOTTOM - TOP)

    def line(stretch: Sequence[Sample], kind: str) -> str:
        known = [(sample.when, value) for sample in stretch if (value := getattr(sample, kind)) is not None]
        return " ".join(f"{across(when):.1f},{height(value):.1f}" for when, value in known)

    stretches = _stretches(measured)
    most = max(measured, key=lambda sample: sample.lag)
    how = "%H:%M" if length <= 86_400 else "%a %H:%M"
    return Chart(
        words=(
            f"Lag from {first:{how}} to {last:{how}} UTC: {amount(measured[-1].lag)} at the end, "
            f"at most {amount(most.lag)} at {most.when:{how}}."
        ),
        lag=tuple(line(stretch, "lag") for stretch in stretches),
        kept=tuple(drawn for stretch in stretches if (drawn := line(stretch, "kept"))),
        thresholds=tuple(Tick(height(size), name) for name, size in near.items()),
        vertical=tuple(Tick(height(step * number), amount(step * number)) for number in range(_STEPS + 1)),
        horizontal=tuple(
            Tick(LEFT + number / 4 * (RIGHT - LEFT), f"{first + (last - first) * number / 4:{how}}")
            for number in range(5)
        ),
        points=json.dumps(
            [
                [round(across(sample.when), 1), round(sample.when.timestamp()), sample.lag, sample.kept]
                for sample in measured
            ],
            separators=(",", ":"),
        ),
    )


def _step(most: int) -> int:
    """The smallest power of two of which a few make `most`."""
    step = 256
    while step * _STEPS < most:
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
