"""The lag chart: units, gaps, and words that say the same."""

import json
from datetime import UTC, datetime, timedelta

from service.web import chart
from service.web.chart import Sample

START = datetime(2026, 11, 29, 13, 0, tzinfo=UTC)


def at(*minutes_and_bytes: tuple[float, int]) -> list[Sample]:
    """Samples."""
    return [Sample(START + timedelta(minutes=minutes), value) for minutes, value in minutes_and_bytes]


def test_less_than_two_samples_are_no_chart() -> None:
    """No empty box."""
    assert chart.draw([]) is None
    assert chart.draw(at((0, 1))) is None


def test_axes_have_round_units_and_the_times() -> None:
    """The highest label is not below the highest value."""
    drawn = chart.draw(at((0, 0), (30, 48 * 2**20), (60, 1_700_000)))
    assert drawn is not None
    assert [tick.label for tick in drawn.panels[0].ticks] == ["0 bytes", "16 MB", "32 MB", "48 MB", "64 MB"]
    assert [tick.label for tick in drawn.times] == ["13:00", "13:15", "13:30", "13:45", "14:00"]
    assert drawn.words == "Lag from 13:00 to 14:00 UTC: 1.6 MB at the end, at most 48 MB at 13:30."


def test_nothing_is_drawn_for_times_without_a_measurement() -> None:
    """A line there would be an invention."""
    drawn = chart.draw(at((0, 1), (1, 2), (2, 3), (30, 4), (31, 5)))
    assert drawn is not None
    assert [len(line.split()) for line in drawn.panels[0].lines] == [3, 2]


def test_lag_of_nothing_is_a_line_at_the_bottom() -> None:
    """Also samples at one moment, and one that is negative by a race."""
    drawn = chart.draw(at((0, 0), (0, -5)))
    assert drawn is not None
    assert {point.split(",")[1] for point in drawn.panels[0].lines[0].split()} == {"128.0"}


def test_span_is_drawn_whole_although_only_its_end_was_measured() -> None:
    """Otherwise an hour would look like a week."""
    week = chart.SPANS["7d"]
    drawn = chart.draw(at((0, 1), (60, 2)), until=(week, START + timedelta(hours=1)))
    assert drawn is not None
    assert [tick.label for tick in drawn.times][::4] == ["Sun 14:00", "Sun 14:00"]
    assert drawn.times[1].label == "Tue 08:00"
    assert all(float(point.split(",")[0]) > chart.RIGHT - 10 for point in drawn.panels[0].lines[0].split())


def test_thresholds_are_drawn_when_the_retained_wal_comes_near() -> None:
    """The axis makes room for them; one far above would press everything to the bottom."""
    near = [Sample(START + timedelta(minutes=minute), 0, 2000 * 2**20) for minute in range(3)]
    drawn = chart.draw(near, {"warning": 3000 * 2**20, "error": 60_000 * 2**20})
    assert drawn is not None
    assert [tick.label for tick in drawn.panels[1].thresholds] == ["warning"]
    assert drawn.panels[1].ticks[-1].label == "4.0 GB"
    assert drawn.panels[0].ticks[-1].label == "1.0 kB"


def test_unknown_retained_wal_leaves_a_hole_in_its_own_line_only() -> None:
    """The lag goes on."""
    half = [Sample(START + timedelta(minutes=minute), 5, 9 if minute > 1 else None) for minute in range(4)]
    drawn = chart.draw(half)
    assert drawn is not None
    assert len(drawn.panels[0].lines[0].split()) == 4
    assert len(drawn.panels[1].lines[0].split()) == 2
    assert json.loads(drawn.points)[0][2:] == [5, None, None]
