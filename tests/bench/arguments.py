"""What `bin/bench` is asked for."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse(groups: Sequence[str], arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Ends the process with 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="bin/bench", description="Measure the service against what bounds it.", allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="smaller and shorter")
    parser.add_argument("--only", choices=groups, action="append", help="one group of rows; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the growth curves there, as SVG")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", action="append", default=[],
        help="write the table into a document, between its marks; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="URL", help="measure another implementation instead: the full URL of a details page"
    )
    parser.add_argument(
        "--header", metavar="'NAME: VALUE'", action="append", default=[],
        help="send this to the other implementation; never printed; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A.json", "B.json"),
        help="measure nothing: say whether two runs agree; exit code 1 if quiet ones contradict each other",
    )  # fmt: skip
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # Not all of them: a header without quotes leaves its secret here.
        names = " ".join(argument.partition("=")[0] for argument in unknown if argument.startswith("-"))
        parser.error(f"unknown arguments: {names}" if names else "unknown arguments (a header must be in quotes)")
    if options.header and not options.against:
        parser.error("--header needs --against")
    if options.against is not None and (options.only or options.markdown):
        parser.error("--against goes with neither --only nor --markdown")
    return options
