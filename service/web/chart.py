"""The chart of the lag over time: axes in units that people use, and gaps where nobody looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from service.http.templates import amount

WIDTH, HEIGHT = 640, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 630, 12, 138
_STEPS = 4
# The monitor looks every minute or so: much longer without a look is a gap, and no line.
_SHORTEST_GAP_S = 180
_GAP_OF_USUAL = 3

Samples = Sequence[tuple[datetime, int]]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in the drawing, and its label."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. `lines` are the points of unbroken stretches; `words` say the same to those who listen."""

    words: str
    lines: tuple[str, ...]
    vertical: tuple[Tick, ...]
    horizontal: tuple[Tick, ...]


def draw(samples: Samples) -> Chart | None:
    """The chart of at least two samples, in the order of time; None for fewer."""
    if len(samples) < 2:
        return None
    first, last = samples[0][0], samples[-1][0]
    span = (last - first).total_seconds() or 1.0
    step = _step(max(value for _, value in samples))
    top = step * _STEPS

    def point(when: datetime, value: int) -> str:
        x = _LEFT + (when - first).total_seconds() / span * (_RIGHT - _LEFT)
        return f"{x:.1f},{_BOTTOM - max(value, 0) / top * (_BOTTOM - _TOP):.1f}"

    lines = tuple(" ".join(point(*sample) for sample in stretch) for stretch in _stretches(samples))
    most, when = max((value, moment) for moment, value in samples)
    return Chart(
        words=(
            f"Lag from {first:%H:%M} to {last:%H:%M} UTC: now {amount(samples[-1][1])}, "
            f"at most {amount(most)} at {when:%H:%M}."
        ),
        lines=lines,
        vertical=tuple(
            Tick(_BOTTOM - number / _STEPS * (_BOTTOM - _TOP), amount(step * number)) for number in range(_STEPS + 1)
        ),
        horizontal=tuple(
            Tick(_LEFT + number / 4 * (_RIGHT - _LEFT), f"{first + (last - first) * number / 4:%H:%M}")
            for number in range(5)
        ),
    )


def _step(most: int) -> int:
    """The smallest power of two that, so many times, is not below `most`."""
    step = 256
    while step * _STEPS < most:
        step *= 2
    return step


def _stretches(samples: Samples) -> list[list[tuple[datetime, int]]]:
    pauses = [(later[0] - earlier[0]).total_seconds() for earlier, later in pairwise(samples)]
    gap = max(_GAP_OF_USUAL * median(pauses), _SHORTEST_GAP_S)
    stretches = [[samples[0]]]
    for pause, sample in zip(pauses, samples[1:], strict=True):
        if pause > gap:
            stretches.append([])
        stretches[-1].append(sample)
    return stretches
