"""`rosetta activity`: how busy a source's tables are."""

import click

from service.cli.output import FINE, say, show_json, show_table
from service.cli.parameters import as_json
from service.cli.parameters import source as source_argument
from service.cli.workbench import Workbench, run
from service.sources.activity import MOST, activity
from service.units import amount, moment


def _rate(writes: float) -> str:
    return f"{writes:,.0f}" if writes >= 10 else f"{writes:g}"


@click.command("activity")
@source_argument
@click.option("--count", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many at most.")
@as_json
def command(source: str, count: int, is_json: bool) -> int:
    """Show the busiest tables of SOURCE: writes a minute, rows, size and last write, from its own statistics.

    \b
    Examples:
      rosetta activity shop
      rosetta activity shop --count 100 --json
    """

    async def work(bench: Workbench) -> int:
        source_id, name = await bench.source(source)
        _, as_of, tables = await activity(bench.database, source_id, count=count)
        if is_json:
            show_json({"as_of": as_of, "tables": tables})
            return FINE
        if not tables:
            say(f"nothing is known of the tables of {name}; ROSETTA_WAL_INTERVAL_S makes the service look")
            return FINE
        rows = [
            (
                table["table_name"],
                None if table["writes_a_minute"] is None else _rate(table["writes_a_minute"]),
                table["rows"],
                None if table["bytes"] is None else amount(table["bytes"]),
                moment(table["last_write_at"]) if table["last_write_at"] else "none seen",
            )
            for table in tables
        ]
        figures = ("writes a minute", "rows", "size")
        show_table(("table", *figures, "last write"), rows, right=figures)
        return FINE

    return run("activity", work, needs_key=False)
