"""A row of the bench: two things measured in turn, their ratio, and whether it is what was wanted."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Measure = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """`ratio` is of what is named to what is `beside` it, `low` and `high` its least and most over the rounds.

    `target` is how the ratio should be, as text; `holds` whether it is. `figures` are absolute, for orientation.
    """

    name: str
    beside: str
    ratio: float
    target: str
    holds: bool
    low: float
    high: float
    figures: str

    def json(self) -> dict[str, Any]:
        """As `--json` writes it."""
        return {
            "name": self.name,
            "beside": self.beside,
            "ratio": round(self.ratio, 3),
            "target": self.target,
            "holds": self.holds,
            "spread": [round(self.low, 3), round(self.high, 3)],
            "figures": self.figures,
        }


async def in_turn(
    rounds: int, measured: Measure, beside: Measure, *, warm_up: int = 0
) -> tuple[list[float], list[float]]:
    """Alternates both measurements, so that other load on the machine affects both alike."""
    for _ in range(warm_up):
        await measured()
        await beside()
    ours, theirs = [], []
    for number in range(rounds):
        # Whoever goes second finds the caches of the processor as the first has left them.
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            await asyncio.sleep(0)
            if which == 0:
                ours.append(await measured())
            else:
                theirs.append(await beside())
    return ours, theirs


def at_least(name: str, beside: str, target: float, ours: Sequence[float], theirs: Sequence[float], unit: str) -> Row:
    """More is better: requests a second."""
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    ratio = median(ratios)
    figures = f"{median(ours):,.0f} and {median(theirs):,.0f} {unit}"
    return Row(name, beside, ratio, f">= {target:g}", ratio >= target, min(ratios), max(ratios), figures)


def at_most(
    name: str,
    beside: str,
    target: float,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    allowance_ms: float = 0.0,
) -> Row:
    """Less is better: seconds. `allowance_ms` is granted beside the factor."""
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    own, other = median(ours), median(theirs)
    wanted = f"<= {target:g}x" + (f" + {allowance_ms:g} ms" if allowance_ms else "")
    holds = own <= target * other + allowance_ms / 1000
    figures = f"{own * 1000:,.2f} and {other * 1000:,.2f} ms"
    return Row(name, beside, own / other, wanted, holds, min(ratios), max(ratios), figures)


def percentile(times: Sequence[float], share: float) -> float:
    """The time that this share of all does not exceed."""
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]
