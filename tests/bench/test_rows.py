"""A row compares what was measured in the same moment, and its verdict is that of its interval."""

import random
from dataclasses import replace

import pytest

from tests.bench.busy import Others
from tests.bench.interval import Verdict
from tests.bench.rows import at_least, at_most, counted, fact, in_turn, p99_at_most

# A machine that becomes slower and slower while both are measured.
_SLOWER = [1.0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_pairs_are_compared_not_medians() -> None:
    """What slows both alike changes no ratio."""
    row = at_least("ours", "theirs", 0.9, [0.95 * rate for rate in _SLOWER], _SLOWER, "/s")
    assert (row.verdict, row.pairs) == (Verdict.HOLDS, 9)
    assert row.ratio == pytest.approx(0.95)
    assert row.interval == pytest.approx((0.95, 0.95))


@pytest.mark.parametrize(
    ("ratios", "more", "less"),
    [
        ([1.1, 1.2, 1.3, 1.2, 1.1, 1.2], Verdict.HOLDS, Verdict.FAILS),
        ([0.9, 1.2, 1.3, 1.2, 1.1, 1.2], Verdict.OPEN, Verdict.OPEN),
        ([0.9, 0.8, 0.7, 0.8, 0.9, 0.9], Verdict.FAILS, Verdict.HOLDS),
        ([1.2] * 5, Verdict.OPEN, Verdict.OPEN),
    ],
    ids=["above", "spans", "below", "too few"],
)
def test_verdict(ratios: list[float], more: Verdict, less: Verdict) -> None:
    """Of more is better, and of less is better."""
    ones = [1.0] * len(ratios)
    assert at_least("ours", "theirs", 1, ratios, ones).verdict == more
    assert at_most("ours", "theirs", 1, ratios, ones).verdict == less


def test_allowance_decides_exactly() -> None:
    """A time is judged after the allowance; the ratio that is shown has it."""
    theirs = [0.001 * factor for factor in (1, 2, 3, 4, 5, 6)]
    just = [1.5 * seconds + 0.0005 for seconds in theirs]
    within = at_most("ours", "theirs", 1.5, [seconds - 1e-9 for seconds in just], theirs, allowance_ms=0.5)
    beyond = at_most("ours", "theirs", 1.5, [seconds + 1e-9 for seconds in just], theirs, allowance_ms=0.5)
    assert (within.verdict, beyond.verdict) == (Verdict.HOLDS, Verdict.FAILS)
    assert within.target == "<= 1.5x + 0.5 ms"
    assert within.ratio is not None
    assert within.ratio > 1.5
    # A pair that is only slow because both are is not allowed more.
    assert at_most("ours", "theirs", 1.5, just, theirs).verdict == Verdict.FAILS


def test_p99_is_that_of_blocks() -> None:
    """One slow moment is in one block of ten, and decides nothing; a slow hundredth everywhere does."""
    chance = random.Random(19)
    theirs = [chance.uniform(1, 1.01) for _ in range(2000)]
    ours = [chance.uniform(1, 1.01) for _ in range(2000)]
    ours[700:720] = [9.0] * 20
    once = p99_at_most("ours", "theirs", 1.5, ours, theirs)
    assert (once.verdict, once.pairs) == (Verdict.HOLDS, 10)
    ours[::50] = [9.0] * 40
    assert p99_at_most("ours", "theirs", 1.5, ours, theirs).verdict == Verdict.FAILS
    assert at_most("ours", "theirs", 1.5, ours, theirs).verdict == Verdict.HOLDS


def test_count_needs_no_interval() -> None:
    """And a fact has no verdict."""
    assert [counted("pages", "bound", value, 2, "").verdict for value in (2, 3)] == [Verdict.HOLDS, Verdict.FAILS]
    assert fact("bytes", "theirs", "1 and 2").verdict is None


def test_row_is_busy_if_others_were() -> None:
    """And says so in the JSON."""
    row, others = counted("pages", "bound", 1, 2, ""), Others(0.4, 1.0)
    assert row.json()["busy"] is False
    assert replace(row, others=Others(0.0, 1.0)).json()["busy"] is False
    assert replace(row, others=others).json()["busy"] is True
    assert replace(row, others=others).json()["others"] == {"share": 0.4, "slowdown": 1.0}
    assert not replace(fact("bytes", "theirs", "1 and 2"), others=others).is_busy


async def test_turns_alternate() -> None:
    """Each goes first as often as the other, and pairs stay pairs."""
    order: list[str] = []

    async def ours() -> int:
        order.append("ours")
        return len(order)

    async def theirs() -> int:
        order.append("theirs")
        return len(order)

    assert await in_turn(3, ours, theirs, warm_up=1) == ([3, 6, 7], [4, 5, 8])
    assert order[2:] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
