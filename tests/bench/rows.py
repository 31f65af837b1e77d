"""A row of the bench: two things measured in turn, the median of their paired ratios, and what its interval decides."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, TypeVar

from tests.bench.busy import Others
from tests.bench.interval import MOST, Interval, Verdict, blocks, interval

_Measured = TypeVar("_Measured")
Figure = Callable[[Sequence[float]], float]
# So many blocks leave enough measurements in each for a slowest hundredth.
_BLOCKS_OF_P99 = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`ratio` is of what is named to what is `beside` it: the median of `pairs` paired ratios, with its 95 % interval.

    `target` is how the ratio should be, as text; a row without one is a fact, and has no verdict. `spread` is the least
    and the greatest ratio. `figures` are absolute, for orientation. `others` says how busy the machine was.
    """

    name: str
    beside: str
    ratio: float | None
    target: str = ""
    verdict: Verdict | None = None
    interval: Interval | None = None
    spread: tuple[float, float] | None = None
    pairs: int = 0
    figures: str
    others: Others | None = None

    @property
    def is_busy(self) -> bool:
        """Whether others used so much of the machine meanwhile that the verdict may be theirs; a fact has none."""
        return self.verdict is not None and self.others is not None and self.others.are_busy

    def json(self) -> dict[str, Any]:
        """As `--json` writes it."""

        def rounded(values: Sequence[float] | None) -> list[float] | None:
            return None if values is None else [round(value, 4) for value in values]

        return {
            "name": self.name,
            "beside": self.beside,
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "interval": rounded(self.interval),
            "target": self.target,
            "verdict": self.verdict,
            "pairs": self.pairs,
            "spread": rounded(self.spread),
            "figures": self.figures,
            "busy": self.is_busy,
            "others": None if self.others is None else self.others.json(),
        }


async def in_turn(
    rounds: int,
    measured: Callable[[], Awaitable[_Measured]],
    beside: Callable[[], Awaitable[_Measured]],
    *,
    warm_up: int = 0,
) -> tuple[list[_Measured], list[_Measured]]:
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


def at_least(
    name: str,
    beside: str,
    target: float,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str = "",
    *,
    figures: str | None = None,
) -> Row:
    """More is better: requests a second."""
    ratios = _ratios(blocks(ours), blocks(theirs))
    found = interval(ratios)
    return Row(
        name=name, beside=beside, ratio=median(ratios), target=f">= {target:g}x",
        verdict=Verdict.OPEN if found is None else found.at_least(target),
        interval=found, spread=(min(ratios), max(ratios)), pairs=len(ratios),
        figures=figures or f"{median(ours):,.0f} and {median(theirs):,.0f} {unit}",
    )  # fmt: skip


def at_most(
    name: str,
    beside: str,
    target: float,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    allowance_ms: float = 0.0,
    of: Figure = median,
    most_blocks: int = MOST,
    figures: str | None = None,
) -> Row:
    """Less is better: seconds. `allowance_ms` is granted beside the factor; the ratio that is shown is without it.

    A time is at most `target` times the other and the allowance exactly if what is left of it after the allowance is at
    most `target` times the other: the interval of those ratios decides.
    """
    own, other = blocks(ours, most_blocks, of), blocks(theirs, most_blocks, of)
    ratios = _ratios(own, other)
    left = interval(_ratios([seconds - allowance_ms / 1000 for seconds in own], other))
    return Row(
        name=name, beside=beside, ratio=median(ratios),
        target=f"<= {target:g}x" + (f" + {allowance_ms:g} ms" if allowance_ms else ""),
        verdict=Verdict.OPEN if left is None else left.at_most(target),
        interval=interval(ratios), spread=(min(ratios), max(ratios)), pairs=len(ratios),
        figures=figures or f"{of(ours) * 1000:,.2f} and {of(theirs) * 1000:,.2f} ms",
    )  # fmt: skip


def p99_at_most(name: str, beside: str, target: float, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """The same of the slowest hundredths: each pair is the p99 of two blocks that were measured in turn."""
    return at_most(name, beside, target, ours, theirs, of=partial(percentile, share=0.99), most_blocks=_BLOCKS_OF_P99)


def counted(name: str, beside: str, value: float, most: float, figures: str) -> Row:
    """A count, which is the same each time: it needs no interval."""
    ratio = value / most
    return Row(
        name=name, beside=beside, ratio=ratio, target="<= 1x", verdict=Verdict.HOLDS if ratio <= 1 else Verdict.FAILS,
        interval=Interval(ratio, ratio), spread=(ratio, ratio), pairs=1, figures=figures,
    )  # fmt: skip


def fact(name: str, beside: str, figures: str, ratio: float | None = None) -> Row:
    """What nobody judges."""
    return Row(name=name, beside=beside, ratio=ratio, figures=figures)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [own / other for own, other in zip(ours, theirs, strict=True)]


def percentile(times: Sequence[float], share: float) -> float:
    """The time that this share of all does not exceed."""
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]
