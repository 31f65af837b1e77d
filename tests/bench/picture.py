"""The growth curves, as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pygal


def draw(curves: Mapping[str, Sequence[tuple[float, float]]], file: Path) -> None:
    """On logarithmic axes, which have no zero."""
    chart = pygal.XY(title="Growth", logarithmic=True, x_title="tables, or pages", show_dots=True)
    for name, points in curves.items():
        chart.add(name, [(max(x, 1), max(y, 0.001)) for x, y in points])
    file.write_bytes(chart.render())
