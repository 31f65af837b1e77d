"""`rosetta sync`: syncs one source, or all."""

import sys
from time import monotonic
from typing import Any

import click

from service.cli.output import FAILED, FINE, Steps, progress, say, show_json
from service.cli.parameters import as_json, check_one_or_all, source_or_all
from service.cli.workbench import Workbench, run
from service.errors import SyncError
from service.sources.sync import SyncResult


@click.command("sync")
@source_or_all
@as_json
def command(source: str | None, is_all: bool, is_json: bool) -> int:
    """Ask SOURCE, or every source one after the other, what it publishes, and record it.

    The exit code is 1 if any could not be synced.

    \b
    Examples:
      rosetta sync shop
      rosetta sync --all --json
    """
    check_one_or_all(source, is_all=is_all)

    async def sync(bench: Workbench) -> int:
        if source is None:
            wanted = [(row["id"], row["name"]) for row in await bench.database.fetch_all("source_ids")]
        else:
            wanted = [await bench.source(source)]
        started = monotonic()
        with progress(len(wanted)) as steps:
            reports = [await _synced(bench, steps, *each, is_told=not is_json) for each in wanted]
        if is_json:
            show_json(reports)
        elif is_all:
            say(_summary(reports, monotonic() - started))
        return FAILED if any(report["outcome"] == "failed" for report in reports) else FINE

    return run("sync", sync)


async def _synced(bench: Workbench, steps: Steps, source_id: int, name: str, *, is_told: bool) -> dict[str, Any]:
    steps.begin(name)
    report: dict[str, Any] = {"id": source_id, "name": name}
    try:
        result = await bench.synchronizer.sync(source_id)
        report |= result.body()
        words = _words(result)
    except SyncError as error:
        report |= {"outcome": "failed", "error": error.message}
        words = error.message
    steps.done()
    if is_told:
        say(f"{name}: {words}")
        sys.stdout.flush()
    return report


def _words(result: SyncResult) -> str:
    if not result.count:
        return "nothing changed"
    counts = ((name.removeprefix("tables_"), len(changed)) for name, changed in result.changes.items())
    breaking = sum(table["verdict"] == "breaking" for table in result.changes["tables_changed"])
    return ", ".join(f"{count} {name}" for name, count in counts if count) + (
        f" ({breaking} breaking)" if breaking else ""
    )


def _summary(reports: list[dict[str, Any]], took_s: float) -> str:
    failed = sum(report["outcome"] == "failed" for report in reports)
    changed = sum(any(report.get(key) for key in report if key.startswith("tables_")) for report in reports)
    return f"{len(reports) - failed} synced, {changed} of them changed, {failed} failed; {took_s:.1f} s"
