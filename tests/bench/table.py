"""The table, for a terminal and for the documents."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.interval import Interval, Verdict
from tests.bench.rows import Row

# By what somebody decides whether to use the service; the README has no more.
DECISIVE = (
    "cached page, requests/s",
    "cached page, p99 at half the rate",
    "a miss, 50 tables",
    "commit to evicted, median",
    "commits/s, one row, 1 writer",
    "commits/s, one row, 16 writers",
    "page, nothing cached, source 2 s away",
)
_BEGIN = {"whole": "<!-- bench: every row -->", "decisive": "<!-- bench: what decides -->"}
_END = "<!-- bench: end -->"
_COUNTED = {Verdict.HOLDS: "hold", Verdict.FAILS: "do not hold", Verdict.OPEN: "are not decided"}
_HEAD = ("what", "beside", "ratio", "95 % interval", "wanted", "verdict", "absolute")


class NoPlaceError(Exception):
    """A document does not say which table it wants, and where; the message is one line."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} has no place for a table: a line {' or '.join(_BEGIN.values())}, and {_END} after it")


def line(row: Row) -> str:
    """A row alone, as it is measured."""
    if row.verdict is None:
        return f"{row.name}: {row.figures}"
    busy = ", busy" if row.is_busy else ""
    return f"{row.name}: {_ratio(row.ratio)} (wanted {row.target}), {row.verdict}{busy}; {row.figures}"


def plain(rows: Sequence[Row]) -> str:
    """All rows, in columns, and how many hold."""
    cells = [
        (row.name, row.beside, _ratio(row.ratio), _interval(row.interval), row.target, row.verdict or "",
         "busy" if row.is_busy else "", row.figures)
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*lines, _counts(rows)])


def _counts(rows: Sequence[Row]) -> str:
    counts = Counter(row.verdict for row in rows if row.verdict)
    said = [f"{counts[verdict]} {words}" for verdict, words in _COUNTED.items()]
    return f"of {counts.total()} verdicts {', '.join(said)}"


def write(file: Path, rows: Sequence[Row], machine: Mapping[str, str], busy: str) -> None:
    """Puts the table where the document wants it; a new document is nothing but the table. Or NoPlaceError."""
    text = file.read_text() if file.exists() else f"{_BEGIN['whole']}\n{_END}\n"
    file.write_text(_filled(file, text, rows, machine, busy))


def check(file: Path) -> None:
    """Raises NoPlaceError before an hour of measuring, not after it."""
    if file.exists():
        _filled(file, file.read_text(), [], {}, "")


def _filled(file: Path, text: str, rows: Sequence[Row], machine: Mapping[str, str], busy: str) -> str:
    for which, begin in _BEGIN.items():
        before, found, rest = text.partition(f"{begin}\n")
        _, ended, after = rest.partition(_END)
        if found and ended:
            if which == "whole":
                parts = [_place(machine, busy), markdown(rows)]
            else:
                parts = [markdown([row for name in DECISIVE for row in rows if row.name == name])]
            return before + begin + "\n" + "\n".join(parts) + _END + after
    raise NoPlaceError(file)


def _place(machine: Mapping[str, str], busy: str) -> str:
    return f"Measured: {', '.join(f'{name} {value}' for name, value in machine.items())}. {_sentence(busy)}\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def markdown(rows: Sequence[Row]) -> str:
    """A table as GitHub shows it; what does not hold is bold."""
    lines = [_cells(_HEAD), _cells(["---"] * len(_HEAD))]
    for row in rows:
        ratio = _ratio(row.ratio)
        verdict = str(row.verdict or "")
        if row.verdict == Verdict.FAILS:
            ratio, verdict = f"**{ratio}**", f"**{verdict}**"
        if row.is_busy:
            verdict += ", busy"
        lines.append(_cells((row.name, row.beside, ratio, _interval(row.interval), row.target, verdict, row.figures)))
    return "".join(f"{line}\n" for line in lines)


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _ratio(ratio: float | None) -> str:
    """Three digits are more than a machine that is shared can promise."""
    if ratio is None:
        return ""
    return f"{ratio:,.0f}" if abs(ratio) >= 100 else f"{ratio:.1f}" if abs(ratio) >= 10 else f"{ratio:.2f}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{_ratio(interval.low)} to {_ratio(interval.high)}"
