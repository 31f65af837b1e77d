"""`rosetta evict`: makes every process drop cached pages."""

import click

from service.cli.output import FINE, say, show_json
from service.cli.parameters import as_json, check_one_or_all, source_or_all
from service.cli.workbench import Workbench, run


@click.command("evict")
@source_or_all
@as_json
def command(source: str | None, is_all: bool, is_json: bool) -> int:
    """Make every process drop the cached page of SOURCE, or every page.

    The next reader gets it from the database. No source is asked.

    \b
    Examples:
      rosetta evict shop
      rosetta evict --all
    """
    check_one_or_all(source, is_all=is_all)

    async def evict(bench: Workbench) -> int:
        wanted = None if source is None else (await bench.source(source))[0]
        await bench.database.fetch_nowait("announce", what="*" if wanted is None else str(wanted))
        if is_json:
            show_json({"evicted": "all" if wanted is None else wanted})
        else:
            say("every process was notified")
        return FINE

    return run("evict", evict, needs_key=False)
