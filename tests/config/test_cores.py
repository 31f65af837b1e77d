"""How many workers `auto` means."""

import os
from pathlib import Path

import pytest

from service.config import cores, subjects


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("nonsense", 4), (None, 4)],
)
def test_quota_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str | None, count: int
) -> None:
    """A limit of processor time is no limit of cores, and the other way round."""
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(cores, "_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3}, raising=False)
    assert cores.usable() == count
    assert subjects._number_of_workers("auto") == count
    assert subjects._number_of_workers("7") == "7"
