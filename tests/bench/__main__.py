"""`bin/bench`: starts its own servers, measures, prints one table; each ratio is of two things that ran in turn."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pygal
import uvloop

from service.demo.reaper import Reaper
from service.demo.servers import Postgres, Valkey
from service.telemetry.log_lines import configure_logging
from tests.bench import changing, growing, large, migrating, reading, serving, syncing, warming
from tests.bench.load import NoWrkError
from tests.bench.rig import Rig
from tests.bench.rows import Row

_GROUPS: dict[str, Callable[[Rig], AsyncIterator[Row]]] = {
    "serving": serving.rows,
    "reading": reading.rows,
    "changing": changing.rows,
    "large": large.rows,
    "syncing": syncing.rows,
    "growing": growing.rows,
    "warming": warming.rows,
    "migrating": migrating.rows,
}


def main() -> int:
    """0, whatever holds: a busy machine is no failure. 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="bin/bench", description="Measure the service against what bounds it.")
    parser.add_argument("--quick", action="store_true", help="smaller and shorter")
    parser.add_argument("--only", choices=list(_GROUPS), action="append", help="one group of rows; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the growth curves there, as SVG")
    options = parser.parse_args()
    # As in production, debug events cost nothing. Warnings about unreachable sources are expected here.
    configure_logging("json", "error", [])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(_measure(options))
    _print(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": [row.json() for row in rows]}, indent=2) + "\n")
    return 0


async def _measure(options: argparse.Namespace) -> list[Row]:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

    rows: list[Row] = []
    with Reaper() as reaper:
        # As in production: what is committed is on the disk.
        settings = {"wal_level": "logical", "fsync": "on", "shared_buffers": "256MB"}
        postgres = Postgres(reaper, "postgres", settings=settings)
        valkey = Valkey(reaper, "redis")
        for server in (postgres, valkey):
            server.start()
        rig = Rig(reaper, postgres, valkey, options.quick, say)
        for name in options.only or _GROUPS:
            try:
                async for row in _GROUPS[name](rig):
                    rows.append(row)
                    say(_line(row))
            except NoWrkError as error:
                say(str(error))
        if options.picture:
            _draw(rig, options.picture)
        valkey.stop()
        postgres.stop("immediate")
    return rows


def _line(row: Row) -> str:
    verdict = "holds" if row.holds else "DOES NOT HOLD"
    return f"{row.name}: {row.ratio:.2f} (wanted {row.target}), {verdict}; {row.figures}"


def _print(rows: list[Row]) -> None:
    width = max((len(row.name) for row in rows), default=0)
    beside = max((len(row.beside) for row in rows), default=0)
    for row in rows:
        spread = f"{row.low:.2f} to {row.high:.2f}"
        mark = "yes" if row.holds else "NO"
        print(
            f"{row.name:{width}}  {row.beside:{beside}}  {row.ratio:8.2f}  {spread:>16}  {row.target:>16}  {mark:>3}  "
            f"{row.figures}"
        )
    print(f"{sum(row.holds for row in rows)} of {len(rows)} hold")


def _draw(rig: Rig, file: Path) -> None:
    chart = pygal.XY(title="Growth", logarithmic=True, x_title="tables, or pages", show_dots=True)
    for name, points in rig.curves.items():
        chart.add(name, [(max(x, 1), max(y, 0.001)) for x, y in points])
    file.write_bytes(chart.render())


if __name__ == "__main__":
    sys.exit(main())
