"""The judge of what users meet sees what it is for."""

from tests.fixtures.lost_parts import Read, judge

COMMITTED = {1: [10.0, 20.0]}


def test_page_is_as_old_as_the_first_change_that_it_lacks() -> None:
    """One that says that it is the last known one is told apart; a failure and a slow one are trouble."""
    right = Read(20.5, 20.6, 1, 2)
    early = Read(19.9, 20.6, 1, 1)
    assert judge([right, early], COMMITTED, since=20.0).stale_s == 0
    met = judge([right, Read(20.7, 20.8, 1, 0)], COMMITTED, since=20.0)
    assert (round(met.stale_s, 1), met.old_s, round(met.healed_s, 1)) == (10.7, 0, 0.8)
    met = judge([right, Read(20.4, 20.8, 1, 1, is_last_known=True)], COMMITTED, since=20.0)
    assert (met.stale_s, round(met.old_s, 1), met.last_known) == (0, 0.4, 1)
    met = judge([right, Read(21, 21.1, 1, None, "503"), Read(21, 24, 1, 2)], COMMITTED, since=20.0)
    assert (met.lost, met.why, met.slowest_s, met.healed_s) == (1, {"503": 1}, 3, 4)
    assert judge([early, right], COMMITTED, since=20.6).reads == 0
