"""What commands share: the parts of the service, and how they print."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psycopg

from service.config import settings
from service.errors import ServiceError, StartError
from service.printable import printable, printable_json
from service.runtime import Parts
from service.telemetry.events import Observer
from service.telemetry.log_lines import configure_logging

FINE, FAILED, WRONG = 0, 1, 2


class Workbench(Parts):
    """The parts of the service that a command works with, and the settings."""

    def __init__(self, chosen: settings.Settings) -> None:
        super().__init__(chosen, Observer())
        self.settings = chosen


@asynccontextmanager
async def opened(chosen: settings.Settings) -> AsyncIterator[Workbench]:
    """A workbench with a connection to the config database; StartError if there is none."""
    bench = Workbench(chosen)
    try:
        await bench.database.open()
        yield bench
    finally:
        await bench.close()


def one_or_all(command: str, description: str, one: str, every: str) -> argparse.ArgumentParser:
    """The parser of a command that takes either a source's id or --all."""
    parser = argparse.ArgumentParser(prog=f"rosetta {command}", description=description)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", type=int, nargs="?", help=one)
    which.add_argument("--all", action="store_true", help=every)
    return parser


def run(command: str, work: Callable[[Workbench], Awaitable[int]]) -> int:
    """Runs `work` and returns its exit code; 1, after one line that says why, if it fails."""

    async def opened_and_run() -> int:
        chosen = settings.load()
        # Commands print what people need; only errors are logged.
        configure_logging("console", "error", chosen.secrets)
        async with opened(chosen) as bench:
            return await work(bench)

    try:
        return asyncio.run(opened_and_run())
    except StartError as error:
        complain(f"rosetta {command}: {error}")
    except ServiceError as error:
        complain(f"rosetta {command}: {error.message}")
    except psycopg.errors.InsufficientPrivilege as error:
        said = error.diag.message_primary
        complain(f"rosetta {command}: {said}; set ROSETTA_CONFIG_DSN to a role that has this right")
    return FAILED


def say(*lines: str) -> None:
    """Prints each as one line, whatever control characters are in it."""
    for line in lines:
        print(printable(line))


def complain(line: str) -> None:
    """Prints one line on standard error."""
    print(printable(line), file=sys.stderr)


def confirmed(question: str) -> bool:
    """Whether a person answers yes; false if there is no terminal."""
    answer = input(f"{printable(question)} [y/N] ") if sys.stdin.isatty() else ""
    return answer.strip().lower() in ("y", "yes")


def show(facts: Any, lines: list[str], *, as_json: bool) -> None:
    """Prints facts as JSON, or their lines for a person."""
    if as_json:
        print(printable_json(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()))
    else:
        say(*lines)


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """Lines with aligned columns."""
    texts = [header, *(tuple("-" if cell is None else printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(len(text[number]) for text in texts) for number in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)).rstrip() for text in texts]
