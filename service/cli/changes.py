"""`rosetta changes`: what changed in a source's tables, and whom it breaks."""

import click

from service.cli.output import FINE, say, show_json
from service.cli.parameters import as_json
from service.cli.parameters import source as source_argument
from service.cli.workbench import Workbench, run
from service.sources.changes import latest_changes, sentences
from service.units import moment

_MOST = 1000


@click.command("changes")
@source_argument
@click.option("--count", type=click.IntRange(1, _MOST), default=10, show_default=True, help="How many at most.")
@as_json
def command(source: str, count: int, is_json: bool) -> int:
    """Show the latest changes of SOURCE's tables: what each did, whether it is breaking, and for whom.

    \b
    Examples:
      rosetta changes shop
      rosetta changes shop --count 100 --json
    """

    async def work(bench: Workbench) -> int:
        source_id, name = await bench.source(source)
        changes = await latest_changes(bench.database, source_id, count)
        if is_json:
            show_json(changes)
            return FINE
        for change in changes:
            diff = change["diff"]
            when = moment(change["changed_at"]) if change["changed_at"] else "at an unknown time"
            verdict = (diff and diff["more"]["verdict"]) or "unknown"
            say(f"{change['table_name']} version {change['version']}, {when}: {verdict}")
            say(*(f"  {sentence}" for sentence in sentences(diff)))
        if not changes:
            say(f"no table of {name} has changed since it was first recorded")
        return FINE

    return run("changes", work, needs_key=False)
