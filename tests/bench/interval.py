"""How far a median can be believed, and what that decides.

The interval is the exact one of the sign test, between two of the sorted values: the number of values below the true
median is binomial with one half, whatever their distribution is (H. A. David, H. N. Nagaraja, Order Statistics, 3rd
edition, section 7.1; J.-Y. Le Boudec, Performance Evaluation of Computer and Communication Systems, theorem 2.1). It
assumes that the values do not depend on each other; `blocks` helps if neighbours do.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import pairwise
from math import comb
from statistics import median
from typing import NamedTuple

CONFIDENCE = 0.95
# With fewer values not even the least and the greatest enclose the median often enough.
FEWEST = 6
# Enough for a narrow interval; a block of that many is long enough to forget the one before.
MOST = 20


class Verdict(StrEnum):
    """Whether a figure is as it should be."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not decided"


class Interval(NamedTuple):
    """Contains the true median with a probability of at least `CONFIDENCE`."""

    low: float
    high: float

    def at_least(self, target: float) -> Verdict:
        """Not decided if it spans the target."""
        if self.low >= target:
            return Verdict.HOLDS
        return Verdict.FAILS if self.high < target else Verdict.OPEN

    def at_most(self, target: float) -> Verdict:
        """Not decided if it spans the target."""
        if self.high <= target:
            return Verdict.HOLDS
        return Verdict.FAILS if self.low > target else Verdict.OPEN

    def overlaps(self, other: "Interval") -> bool:
        """Whether both contain a common value."""
        return self.low <= other.high and other.low <= self.high


def cut(count: int) -> int:
    """How many of `count` sorted values the interval leaves out at each end; -1 if there are too few."""
    below, left_out = 0, -1
    for number in range(count):
        below += comb(count, number)
        if 2 * below > (1 - CONFIDENCE) * 2**count:
            break
        left_out = number
    return left_out


def interval(values: Sequence[float]) -> Interval | None:
    """The interval of the median of these values; None if they are too few."""
    ranked = sorted(values)
    left_out = cut(len(ranked))
    return None if left_out < 0 else Interval(ranked[left_out], ranked[-1 - left_out])


def blocks(values: Sequence[float], most: int = MOST, of: Callable[[Sequence[float]], float] = median) -> list[float]:
    """Cuts values in the order of time into at most that many blocks, and describes each by one figure.

    Measurements that follow each other within milliseconds share what slows them down. Blocks of them depend on each
    other far less.
    """
    count = min(len(values), most)
    edges = [number * len(values) // count for number in range(count + 1)] if count else []
    return [of(values[start:end]) for start, end in pairwise(edges)]
