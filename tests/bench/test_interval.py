"""The interval contains the median as often as it says, and decides only what it can."""

import random
from statistics import median

import pytest

from tests.bench.interval import CONFIDENCE, FEWEST, Interval, Verdict, blocks, cut, interval

_TRIALS = 4_000


def _covered(size: int, chance: random.Random) -> float:
    """How often the interval of log-normal values contains their median, 1."""
    hits = 0
    for _ in range(_TRIALS):
        found = interval([chance.lognormvariate(0, 0.5) for _ in range(size)])
        assert found is not None
        hits += found.low <= 1 <= found.high
    return hits / _TRIALS


@pytest.mark.parametrize(("size", "exact"), [(6, 0.9688), (9, 0.9609), (12, 0.9614), (20, 0.9586)])
def test_interval_contains_the_median_as_often_as_the_binomial_says(size: int, exact: float) -> None:
    """Of values that are not normal; one rank further in or out would be off by more than the chance of the trials."""
    assert exact >= CONFIDENCE
    assert _covered(size, random.Random(19)) == pytest.approx(exact, abs=0.01)


def test_ranks_are_those_of_the_tables() -> None:
    """Of the two-sided sign test at 5 %: 5 values decide nothing, 9 lose one at each end, 20 five, 100 thirty-nine."""
    assert [cut(size) for size in (0, 1, 5, FEWEST, 8, 9, 12, 20, 100)] == [-1, -1, -1, 0, 0, 1, 2, 5, 39]
    assert interval([1.0] * (FEWEST - 1)) is None
    assert interval([9.0, 1, 3, 2, 5, 4, 6, 7, 8]) == (2, 8)


def test_verdict_needs_the_whole_interval() -> None:
    """On one side of the target, which itself is good enough."""
    decided = {
        Interval(0.91, 1.1): (Verdict.HOLDS, Verdict.FAILS),
        Interval(0.9, 1.1): (Verdict.HOLDS, Verdict.OPEN),
        Interval(0.8, 1.0): (Verdict.OPEN, Verdict.OPEN),
        Interval(0.7, 0.8): (Verdict.FAILS, Verdict.HOLDS),
        Interval(0.9, 0.9): (Verdict.HOLDS, Verdict.HOLDS),
    }
    for found, (more, less) in decided.items():
        assert (found.at_least(0.9), found.at_most(0.9)) == (more, less), found


def test_intervals_overlap_if_they_share_a_value() -> None:
    """Either way round."""
    low, middle, high = Interval(1, 2), Interval(2, 3), Interval(2.5, 4)
    assert low.overlaps(middle)
    assert middle.overlaps(low)
    assert high.overlaps(middle)
    assert not low.overlaps(high)
    assert not high.overlaps(low)


def test_blocks_are_in_the_order_of_time_and_lose_nothing() -> None:
    """Of nearly the same size; few values are blocks of their own."""
    assert blocks([3.0, 1.0, 2.0], 20) == [3, 1, 2]
    assert blocks([], 20) == []
    found = blocks(list(range(105)), 10, of=len)
    assert sum(found) == 105
    assert set(found) == {10, 11}
    assert blocks(list(range(100)), 10, of=median) == [4.5 + 10 * number for number in range(10)]
