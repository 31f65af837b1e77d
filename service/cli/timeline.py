"""`rosetta timeline`: what happened to a source, and by whom."""

import click

from service.cli.output import FINE, say, show_json
from service.cli.parameters import as_json
from service.cli.parameters import source as source_argument
from service.cli.workbench import Workbench, run
from service.config.webhooks import KINDS
from service.sources.timeline import timeline
from service.units import moment

_MOST = 1000


@click.command("timeline")
@source_argument
@click.option("--count", type=click.IntRange(1, _MOST), default=20, show_default=True, help="How many at most.")
@click.option("--kind", type=click.Choice(KINDS), help="Only entries of this kind.")
@as_json
def command(source: str, count: int, kind: str | None, is_json: bool) -> int:
    """Show what happened to SOURCE, the latest first: what, when, and by which role and program.

    \b
    Examples:
      rosetta timeline shop
      rosetta timeline shop --kind state --count 100 --json
    """

    async def work(bench: Workbench) -> int:
        source_id, name = await bench.source(source)
        _, entries = await timeline(bench.database, source_id, count=count, kind=kind)
        if is_json:
            show_json(entries)
            return FINE
        for entry in entries:
            by = ", ".join(part for part in (entry["role"], entry["program"]) if part)
            when = moment(entry["happened_at"]) if entry["happened_at"] else "at an unknown time"
            verdict = f" ({entry['verdict']})" if entry["verdict"] else ""
            say(f"{when}  {entry['kind']}{verdict}{'  by ' + by if by else ''}")
            say(*(f"  {sentence}" for sentence in entry["says"]))
        if not entries:
            say(f"nothing is recorded of {name}{' of this kind' if kind else ''}")
        return FINE

    return run("timeline", work, needs_key=False)
