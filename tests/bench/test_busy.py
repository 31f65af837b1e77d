"""The bench knows its own processor time from that of others, and does without if nobody tells."""

from pathlib import Path

import pytest

from tests.bench import busy
from tests.bench.busy import Others, Ticks, Watch, of_machine, of_tree

_STAT = "cpu  100 20 30 800 5 7 8 40 90 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"


def _process(parent: int, own: int, of_children: int) -> str:
    return f"1 (a) name (that) has) parentheses) S {parent} 1 1 0 -1 0 0 0 0 0 {own} 2 {of_children} 3 20 0 1 0 99\n"


def test_machine_counts_every_tick_once() -> None:
    """The time of guests is in that of users already; interrupts are nobody's."""
    assert of_machine(_STAT) == (1010, 150, 40)


def test_tree_is_the_bench_and_what_it_started() -> None:
    """With the children that have ended; not what runs beside it, nor what a child of somebody else started."""
    processes = {
        1: _process(0, 1000, 0),
        10: _process(1, 5, 100),
        11: _process(10, 7, 0),
        12: _process(11, 11, 0),
        20: _process(1, 2000, 0),
        21: _process(20, 4000, 0),
    }
    assert of_tree(processes, 10) == (5 + 2 + 100 + 3) + (7 + 2 + 3) + (11 + 2 + 3)


def test_others_have_what_is_used_but_not_ours_and_what_is_stolen() -> None:
    """A share of all, idle time included; rounding never makes it negative."""
    assert Ticks(total=1000, used=500, stolen=50, own=300).others == 0.25
    assert Ticks(total=1000, used=300, stolen=0, own=301).others == 0
    assert Ticks(total=0, used=0, stolen=0, own=0).others is None


@pytest.mark.parametrize(
    ("others", "are_busy"),
    [
        (Others(0.05, 1.1), False),
        (Others(0.3, 1.0), True),
        (Others(0.0, 1.5), True),
        (Others(None, 1.0), False),
        (Others(None, 1.5), True),
    ],
)
def test_busy_by_either_sign(others: Others, are_busy: bool) -> None:
    """Processor time, or work that took longer than it can."""
    assert others.are_busy == are_busy


def test_watch_says_how_busy_each_row_was() -> None:
    """Since the row before; a row that comes at once has the same others."""
    ticks = iter([
        Ticks(0, 0, 0, 0),
        Ticks(1000, 400, 0, 390),
        Ticks(2000, 1400, 20, 890),
        Ticks(2001, 1401, 20, 890),
    ])  # fmt: skip
    work = iter([1.0, 1.0, 1.5])
    watch = Watch(lambda: next(ticks), lambda: next(work))
    assert watch.lap() == Others(0.01, 1.0)
    assert watch.lap() == Others(0.52, 1.5)
    assert watch.lap() == Others(0.52, 1.5)
    assert watch.summary() == (
        "the machine was busy: 26% of the processor time went to others (1% was stolen); "
        "the same work took up to 1.50 times its least; so it was during 2 of 3 rows"
    )


async def test_server_of_somebody_else_is_not_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the bench rests between the loads, only rests count."""
    monkeypatch.setattr(busy, "_SETTLE_S", 0)
    monkeypatch.setattr(busy, "_REST_S", 0)
    ticks = iter([
        Ticks(0, 0, 0, 0),
        *(Ticks(1000, 900, 0, 400), Ticks(1050, 905, 0, 402)),
        *(Ticks(2000, 1800, 0, 800), Ticks(2050, 1803, 0, 801)),
        Ticks(2060, 1813, 0, 811),
    ])  # fmt: skip
    watch = Watch(lambda: next(ticks), lambda: 1.0)
    await watch.rest()
    await watch.rest()
    assert watch.lap() == Others(0.05, 1.0)
    assert watch.summary().startswith("the machine was quiet: 5% of the processor time")


def test_watch_says_what_it_can_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing about processor time; never an error."""
    monkeypatch.setattr(busy, "_PROC", tmp_path / "nowhere")
    watch = Watch(work=lambda: 1.0)
    assert watch.lap() == Others(None, 1.0)
    assert watch.summary() == "the machine was quiet: the same work took up to 1.00 times its least"


@pytest.mark.skipif(not Path("/proc/1/stat").exists(), reason="this system has no /proc")
def test_own_work_is_not_that_of_others() -> None:
    """Of the real machine: own time grows by what this process works."""
    before = busy.ticks()
    while (after := busy.ticks()) and before and after.own - before.own < 10:
        busy.fixed_work()
    assert before is not None
    assert after is not None
    passed = after.minus(before)
    assert passed.total >= passed.own - 2
    assert 0 <= (passed.others or 0) <= 1
