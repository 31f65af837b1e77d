"""`rosetta evict`: makes every process drop cached pages."""

import argparse
import functools

from service.cli.common import FINE, Workbench, one_or_all, run, show


def main(arguments: list[str]) -> int:
    """0 if every process was notified."""
    parser = one_or_all("evict", "Make every process drop cached pages.", "one source's page", "every page")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return run("evict", functools.partial(_evict, parser.parse_args(arguments)))


async def _evict(options: argparse.Namespace, bench: Workbench) -> int:
    await bench.database.fetch_nowait("announce", what="*" if options.all else str(options.id))
    show({"evicted": "all" if options.all else options.id}, ["every process was notified"], as_json=options.json)
    return FINE
