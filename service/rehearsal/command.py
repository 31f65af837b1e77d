"""`rosetta check`: what a migration would do to a source's published tables."""

from pathlib import Path

import click

from service.cli.output import FAILED, FINE, complain, say, show_json
from service.cli.parameters import as_json, not_empty
from service.cli.workbench import Workbench, run
from service.demo.embedded import EmbeddedServerError
from service.demo.reaper import ReaperError
from service.rehearsal.rehearse import MigrationFailedError, read, rehearse

_NOT_JUDGED = 3


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--source", required=True, callback=not_empty, help="Whose tables: a name or an id.")
@as_json
def command(file: Path, source: str, is_json: bool) -> int:
    """Apply the migration FILE to a copy of a source's published tables, and say what it does to them.

    The copy is on an embedded server, and made of what the last sync recorded: nothing of the source is touched. The
    exit code is 1 if a change breaks anybody, and 3 if the migration cannot be judged (it fails on the copy, say).

    \b
    Examples:
      rosetta check migrations/42.sql --source shop
      rosetta check 42.sql --source shop --json
    """

    async def work(bench: Workbench) -> int:
        source_id, name = await bench.source(source)
        recorded = await bench.database.fetch_one("recorded_schema", id=source_id)
        if recorded is None or not recorded["fragments"]:
            complain(f"rosetta check: no published table of {name} is recorded; run: rosetta sync {name}")
            return FAILED
        try:
            outcome = await rehearse(recorded, read(file))
        except MigrationFailedError as error:
            complain(f"rosetta check: {file} fails on the copy: {error}")
            complain("the copy has the published tables with their columns, keys and defaults, and nothing else")
            return _NOT_JUDGED
        except (EmbeddedServerError, ReaperError, ValueError) as error:
            complain(f"rosetta check: {error}")
            return FAILED
        carried = [f"{pipeline['name']} ({', '.join(pipeline['destinations'])})" for pipeline in recorded["pipelines"]]
        if is_json:
            facts = {
                "verdict": outcome.verdict,
                "tables": outcome.tables,
                "notes": outcome.notes,
                "doubts": outcome.doubts,
            }
            show_json(facts | {"pipelines": recorded["pipelines"]})
        else:
            for table in outcome.tables:
                say(f"{table['table_name']}: {table['verdict']}", *(f"  {sentence}" for sentence in table["says"]))
            if not outcome.tables and not outcome.doubts:
                say(f"nothing of what {name} publishes changes")
            elif carried:
                say(f"carried by {'; '.join(carried)}")
            for note in outcome.notes:
                complain(f"note: {note}")
            for doubt in outcome.doubts:
                complain(f"not judged: {doubt}")
        return {"breaking": FAILED, "unknown": _NOT_JUDGED}.get(outcome.verdict, FINE)

    return run("check", work, needs_key=False)
