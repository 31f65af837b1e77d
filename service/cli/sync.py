"""`rosetta sync`: syncs one source, or all."""

import argparse
import functools
import sys
from typing import Any

from service.cli.common import FAILED, FINE, Workbench, one_or_all, run, say, show
from service.errors import EntityNotFoundError, SyncError
from service.printable import printable
from service.sources.sync import SyncResult

_BAR = 30


def main(arguments: list[str]) -> int:
    """0 if every source was synced, 1 otherwise."""
    parser = one_or_all("sync", "Sync with source databases.", "one source", "every source, one after the other")
    parser.add_argument("--json", action="store_true", help="print JSON: one report for each source")
    return run("sync", functools.partial(_sync, parser.parse_args(arguments)))


async def _sync(options: argparse.Namespace, bench: Workbench) -> int:
    sources = await bench.database.fetch_all("source_ids")
    if not options.all:
        sources = [row for row in sources if row["id"] == options.id]
        if not sources:
            raise EntityNotFoundError("Source", str(options.id))
    reports: list[dict[str, Any]] = []
    failures = 0
    for number, row in enumerate(sources, 1):
        _progress(number - 1, len(sources), row["name"])
        try:
            result = await bench.synchronizer.sync(row["id"])
            reports.append({"id": row["id"], "name": row["name"], **result.body()})
            words = _words(result)
        except SyncError as error:
            failures += 1
            reports.append({"id": row["id"], "name": row["name"], "outcome": "failed", "error": error.message})
            words = error.message
        _progress(number, len(sources), "")
        if not options.json:
            say(f"{row['name']}: {words}")
            sys.stdout.flush()
    if options.json:
        show(reports, [], as_json=True)
    return FAILED if failures else FINE


def _words(result: SyncResult) -> str:
    if not result.count:
        return "nothing changed"
    counts = ((name.removeprefix("tables_"), len(changed)) for name, changed in result.changes.items())
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def _progress(done: int, total: int, name: str) -> None:
    """A progress bar, if standard error is a terminal and there is more than one source."""
    if total < 2 or not sys.stderr.isatty():
        return
    bar = "#" * (_BAR * done // total)
    # Clears the line first, so that the next output has it alone.
    sys.stderr.write("\r\x1b[K" + (f"[{bar:{_BAR}}] {done}/{total} {printable(name)}" if name else ""))
    sys.stderr.flush()
