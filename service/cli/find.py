"""`rosetta find`: which sources have a table or a column, of which type, and where the same table differs."""

import click

from service.cli.output import FAILED, FINE, complain, say, show_json, show_table
from service.cli.parameters import as_json, not_empty
from service.cli.workbench import Workbench, run
from service.sources.find import MOST, find


@click.command("find")
@click.argument("text", callback=not_empty)
@click.option("--count", type=click.IntRange(1, MOST), default=MOST, show_default=True, help="How many at most.")
@as_json
def command(text: str, count: int, is_json: bool) -> int:
    """Find tables and columns with TEXT in their name, in any case, in all sources.

    Exits with 1 if there is none.

    \b
    Examples:
      rosetta find orders
      rosetta find customer_id --json
    """

    async def work(bench: Workbench) -> int:
        tables, is_cut = await find(bench.database, text, most=count)
        if is_json:
            show_json({"tables": tables, "is_cut": is_cut})
            return FINE if tables else FAILED
        if not tables:
            complain(f"rosetta find: no published table, and no column of one, has '{text}' in its name")
            return FAILED
        rows = [
            (
                table["table_name"],
                table["source_name"],
                ", ".join(f"{column['column_name']} {column['type']}" for column in table["columns"]),
                "; ".join(table["differs"]),
            )
            for table in tables
        ]
        show_table(("table", "source", "columns", "differs"), rows)
        if is_cut:
            say("there are more; a longer text finds fewer")
        return FINE

    return run("find", work, needs_key=False)
