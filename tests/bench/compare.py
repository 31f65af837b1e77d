"""Whether two runs agree: by each row's verdict, and by whether the intervals have a value in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.bench.interval import Interval, Verdict


class Agreement(StrEnum):
    """What two runs say about one row."""

    AGREES = "agrees"
    APART = "the intervals are apart"
    CONTRADICTS = "CONTRADICTS"
    BUSY = "contradicts, but busy"
    UNKNOWN = "cannot be compared"


class RunError(Exception):
    """A file is not what `--json` writes; the message is one line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of both runs."""

    name: str
    agreement: Agreement
    says: str


def compare(first: Path, second: Path) -> list[Finding]:
    """Every row of either run, in the order of the first. RunError."""
    one, other = _rows(first), _rows(second)
    return [_found(name, one.get(name), other.get(name)) for name in one | other]


def printed(findings: list[Finding]) -> str:
    """For a terminal."""
    width = max((len(found.name) for found in findings), default=0)
    lines = [f"{found.name:{width}}  {found.agreement:{len(Agreement.APART)}}  {found.says}" for found in findings]
    counts = [f"{sum(found.agreement == each for found in findings)} {words}" for each, words in _COUNTED.items()]
    return "\n".join([*lines, f"of {len(findings)} rows {', '.join(counts)}"])


_COUNTED = {
    Agreement.AGREES: "agree",
    Agreement.APART: "have intervals that are apart",
    Agreement.CONTRADICTS: "contradict each other",
    Agreement.BUSY: "do so on a busy machine",
    Agreement.UNKNOWN: "cannot be compared",
}


def _rows(file: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = json.loads(file.read_bytes())["rows"]
        found = {row["name"]: row for row in rows}
        for row in rows:
            row["interval"] = None if row["interval"] is None else Interval(*map(float, row["interval"]))
            row["verdict"] = None if row["verdict"] is None else Verdict(row["verdict"])
            row["busy"] = bool(row["busy"])
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{file} is not what bin/bench --json writes") from None
    return found


def _found(name: str, one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Finding:
    if one is None or other is None:
        return Finding(name, Agreement.UNKNOWN, f"only in the {'second' if one is None else 'first'} run")
    says = f"{_said(one)}; {_said(other)}"
    if {one["verdict"], other["verdict"]} == {Verdict.HOLDS, Verdict.FAILS}:
        is_busy = one["busy"] or other["busy"]
        return Finding(name, Agreement.BUSY if is_busy else Agreement.CONTRADICTS, says)
    if one["interval"] is None or other["interval"] is None:
        return Finding(name, Agreement.UNKNOWN, says)
    overlap = one["interval"].overlaps(other["interval"])
    return Finding(name, Agreement.AGREES if overlap else Agreement.APART, says)


def _said(row: Mapping[str, Any]) -> str:
    interval = "no interval" if row["interval"] is None else f"{row['interval'].low:.2f} to {row['interval'].high:.2f}"
    return ", ".join([interval, *([row["verdict"]] if row["verdict"] else []), *(["busy"] if row["busy"] else [])])
