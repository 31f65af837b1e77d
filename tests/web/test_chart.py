"""The lag chart: units, gaps, and words that say the same."""

from datetime import UTC, datetime, timedelta

from service.web import chart

START = datetime(2026, 11, 29, 13, 0, tzinfo=UTC)


def at(*minutes_and_bytes: tuple[float, int]) -> list[tuple[datetime, int]]:
    """Samples."""
    return [(START + timedelta(minutes=minutes), value) for minutes, value in minutes_and_bytes]


def test_less_than_two_samples_are_no_chart() -> None:
    """No empty box."""
    assert chart.draw([]) is None
    assert chart.draw(at((0, 1))) is None


def test_axes_have_round_units_and_the_times() -> None:
    """The highest label is not below the highest value."""
    drawn = chart.draw(at((0, 0), (30, 48 * 2**20), (60, 1_700_000)))
    assert drawn is not None
    assert [tick.label for tick in drawn.vertical] == ["0 bytes", "16 MB", "32 MB", "48 MB", "64 MB"]
    assert [tick.label for tick in drawn.horizontal] == ["13:00", "13:15", "13:30", "13:45", "14:00"]
    assert drawn.words == "Lag from 13:00 to 14:00 UTC: now 1.6 MB, at most 48 MB at 13:30."


def test_nothing_is_drawn_where_nobody_looked() -> None:
    """A line there would be an invention."""
    drawn = chart.draw(at((0, 1), (1, 2), (2, 3), (30, 4), (31, 5)))
    assert drawn is not None
    assert [len(line.split()) for line in drawn.lines] == [3, 2]


def test_lag_of_nothing_is_a_line_at_the_bottom() -> None:
    """Also samples at one moment, and one that is negative by a race."""
    drawn = chart.draw(at((0, 0), (0, -5)))
    assert drawn is not None
    assert {point.split(",")[1] for point in drawn.lines[0].split()} == {"138.0"}
