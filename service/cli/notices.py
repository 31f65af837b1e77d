"""`rosetta notices`: what webhooks were told, and what became of it."""

import click

from service.cli.output import FINE, say, show_json, show_table
from service.cli.parameters import as_json
from service.cli.workbench import Workbench, run
from service.units import moment

_MOST = 1000


@click.command("notices")
@click.option("--count", type=click.IntRange(1, _MOST), default=20, show_default=True, help="How many at most.")
@as_json
def command(count: int, is_json: bool) -> int:
    """Show the latest notices to webhooks, and their fate: sent, waiting, failing or given up.

    \b
    Examples:
      rosetta notices
      rosetta notices --count 100 --json
    """

    async def work(bench: Workbench) -> int:
        notices = await bench.database.fetch_all("latest_notices", count=count)
        if is_json:
            show_json(notices)
            return FINE
        if not notices:
            say("no notice was made; ROSETTA_WEBHOOKS says who is told (see docs/timeline.md)")
            return FINE
        rows = [
            (
                moment(notice["made_at"]),
                notice["webhook"],
                notice["source_name"] or notice["source_id"] or "all",
                notice["kind"],
                notice["fate"],
                notice["last_error"] or "",
            )
            for notice in notices
        ]
        show_table(("made", "webhook", "source", "kind", "fate", "reason"), rows)
        return FINE

    return run("notices", work, needs_key=False)
