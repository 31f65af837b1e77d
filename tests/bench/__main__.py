"""`bin/bench`: starts its own servers, measures, prints one table; each ratio is of two things that ran in turn."""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import uvloop

from service.demo.reaper import Reaper
from service.demo.servers import Postgres, Valkey
from service.telemetry.log_lines import configure_logging
from tests.bench import (
    against,
    arguments,
    changing,
    compare,
    growing,
    large,
    migrating,
    reading,
    serving,
    syncing,
    table,
    warming,
    workers,
)  # fmt: skip
from tests.bench.load import NoWrkError
from tests.bench.machine import machine
from tests.bench.rig import Rig
from tests.bench.rows import Row

_Group = Callable[[Rig], AsyncIterator[Row]]
_GROUPS: dict[str, _Group] = {
    "serving": serving.rows,
    "reading": reading.rows,
    "changing": changing.rows,
    "large": large.rows,
    "syncing": syncing.rows,
    "growing": growing.rows,
    "warming": warming.rows,
    "migrating": migrating.rows,
    "workers": workers.rows,
}


@dataclass
class Run:
    """What was measured, where, and how busy the machine was."""

    machine: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    busy: str = ""


def main() -> int:
    """0, whatever holds: a busy machine is no failure. 2 for wrong arguments.

    1 if two quiet runs contradict each other.
    """
    options = arguments.parse(list(_GROUPS))
    try:
        return _compare(*options.compare) if options.compare else _bench(options)
    except (compare.RunError, against.AgainstError, table.NoPlaceError) as error:
        print(error, file=sys.stderr)
        return 2


def _compare(first: Path, second: Path) -> int:
    findings = compare.compare(first, second)
    print(compare.printed(findings))
    return int(any(found.agreement == compare.Agreement.CONTRADICTS for found in findings))


def _bench(options: argparse.Namespace) -> int:
    for file in options.markdown:
        table.check(file)
    groups = {name: _GROUPS[name] for name in options.only or _GROUPS}
    if options.against is not None:
        other = against.wanted(options.against, options.header)
        # Before any server is started: the URL may be wrong.
        groups = {"against": partial(against.rows, other=other, theirs=asyncio.run(against.probe(other)))}
    # As in production, debug events cost nothing. Warnings about unreachable sources are expected here.
    configure_logging("json", "error", [])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        run = runner.run(_measure(options, groups))
    print(table.plain(run.rows))
    print(run.busy)
    if options.json:
        content = {"machine": run.machine, "busy": run.busy, "rows": [row.json() for row in run.rows]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    for file in options.markdown:
        table.write(file, run.rows, run.machine, run.busy)
    return 0


async def _measure(options: argparse.Namespace, groups: dict[str, _Group]) -> Run:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

    # A collection of the oldest generation takes 50 ms here, which would be measured.
    gc.collect()
    gc.freeze()
    with Reaper() as reaper:
        # As in production: what is committed is on the disk.
        settings = {"wal_level": "logical", "fsync": "on", "shared_buffers": "256MB", "max_connections": "400"}
        postgres = Postgres(reaper, "postgres", settings=settings)
        valkey = Valkey(reaper, "redis")
        for server in (postgres, valkey):
            server.start()
        rig = Rig(reaper, postgres, valkey, options.quick, say)
        run = Run(machine(postgres.dsn(), valkey.url))
        for rows in groups.values():
            try:
                async for row in rows(rig):
                    run.rows.append(replace(row, others=rig.watch.lap()))
                    say(table.line(run.rows[-1]))
            except NoWrkError as error:
                say(str(error))
        run.busy = rig.watch.summary()
        if options.picture:
            # pygal puts a finder of modules into Python that warns at every later import.
            from tests.bench.picture import draw

            draw(rig.curves, options.picture)
        valkey.stop()
        postgres.stop("immediate")
    return run


if __name__ == "__main__":
    sys.exit(main())
