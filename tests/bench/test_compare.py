"""Two runs agree if no verdict contradicts the other and the intervals have a value in common."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import main
from tests.bench.busy import Others
from tests.bench.compare import Agreement, RunError, compare, printed
from tests.bench.rows import Row, at_most

_HOLDS, _FAILS, _OPEN = "holds", "does not hold", "not decided"


def _row(name: str, interval: list[float] | None, verdict: str | None, *, busy: bool = False) -> dict[str, Any]:
    return {"name": name, "interval": interval, "verdict": verdict, "busy": busy}


def _run(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text(json.dumps({"rows": rows}))
    return file


@pytest.mark.parametrize(
    ("one", "other", "agreement"),
    [
        (_row("row", [1, 2], _HOLDS), _row("row", [1.9, 3], _HOLDS), Agreement.AGREES),
        (_row("row", [1, 2], _HOLDS), _row("row", [2, 3], _OPEN), Agreement.AGREES),
        (_row("row", [1, 2], _HOLDS), _row("row", [2.1, 3], _HOLDS), Agreement.APART),
        (_row("row", [1, 2], _HOLDS), _row("row", [2.1, 3], _FAILS), Agreement.CONTRADICTS),
        # An allowance may make the verdicts contradict each other while the ratios overlap.
        (_row("row", [1, 2], _FAILS), _row("row", [1, 2], _HOLDS), Agreement.CONTRADICTS),
        (_row("row", [1, 2], _HOLDS), _row("row", [2.1, 3], _FAILS, busy=True), Agreement.BUSY),
        (_row("row", None, _OPEN), _row("row", [1, 2], _HOLDS), Agreement.UNKNOWN),
        (_row("row", None, None), _row("row", None, None), Agreement.UNKNOWN),
        (_row("row", [1, 2], _HOLDS), _row("another", [1, 2], _HOLDS), Agreement.UNKNOWN),
    ],
)
def test_agreement(one: dict[str, Any], other: dict[str, Any], agreement: Agreement, tmp_path: Path) -> None:
    """Of a row of both, whichever run is named first."""
    first, second = _run(tmp_path / "a", one), _run(tmp_path / "b", other)
    assert {found.agreement for found in compare(first, second)} == {agreement}
    assert {found.agreement for found in compare(second, first)} == {agreement}


def test_exit_code_is_1_for_a_contradiction_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither for intervals that are apart, nor for a row that was busy."""
    first = _run(tmp_path / "first", _row("row", [1, 2], _HOLDS))
    for number, (row, code) in enumerate((
        (_row("row", [1, 2], _HOLDS), 0),
        (_row("row", [3, 4], _HOLDS), 0),
        (_row("row", [5, 6], _FAILS, busy=True), 0),
        (_row("row", [5, 6], _FAILS), 1),
    )):  # fmt: skip
        second = _run(tmp_path / f"second {number}", row)
        monkeypatch.setattr("sys.argv", ["bin/bench", "--compare", str(first), str(second)])
        assert main() == code
    said = capsys.readouterr().out.splitlines()
    assert said[4].split("  ")[-1] == "1.00 to 2.00, holds; 5.00 to 6.00, does not hold, busy"
    assert said[-1].startswith("of 1 rows 0 agree, 0 have intervals that are apart, 1 contradict each other, 0 do so")


def test_reads_what_the_bench_writes(tmp_path: Path) -> None:
    """A row's JSON has what a comparison needs."""
    row = at_most("row", "it", 1, [0.5] * 6, [1.0] * 6)
    rows = [row, Row(name="bytes", beside="it", ratio=None, figures="", others=Others(None, 1.0))]
    file = _run(tmp_path / "run", *(row.json() for row in rows))
    assert [found.agreement for found in compare(file, file)] == [Agreement.AGREES, Agreement.UNKNOWN]
    assert "1 agree" in printed(compare(file, file))


@pytest.mark.parametrize("content", ["", "[]", '{"rows": 1}', '{"rows": [{"name": "row"}]}', '{"rows": [1]}'])
def test_other_files_are_refused_in_one_line(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2."""
    file = tmp_path / "run"
    file.write_text(content)
    monkeypatch.setattr("sys.argv", ["bin/bench", "--compare", str(file), str(file)])
    assert main() == 2
    assert capsys.readouterr().err == f"{file} is not what bin/bench --json writes\n"
    with pytest.raises(RunError, match="cannot read"):
        compare(tmp_path / "nowhere", file)
