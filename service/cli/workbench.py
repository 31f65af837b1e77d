"""The parts of the service that a command works with, and how a command runs."""

import asyncio
import difflib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg

from service.cli.output import FAILED, complain
from service.config import settings
from service.errors import EntityNotFoundError, ServiceError, StartError
from service.parts import Parts
from service.telemetry.events import Observer
from service.telemetry.log_lines import configure_logging


class Workbench(Parts):
    """The parts of the service, and the settings."""

    def __init__(self, chosen: settings.Settings) -> None:
        super().__init__(chosen, Observer())
        self.settings = chosen

    async def source(self, wanted: str) -> tuple[int, str]:
        """The id and name of the source with that id, or else that name. EntityNotFoundError if there is none."""
        sources = {row["id"]: row["name"] for row in await self.database.fetch_all("source_ids")}
        if wanted.isascii() and wanted.isdecimal() and len(wanted) < 11 and int(wanted) in sources:
            return int(wanted), sources[int(wanted)]
        for source_id, name in sources.items():
            if name == wanted:
                return source_id, name
        raise _unknown(wanted, list(sources.values()))


def _unknown(wanted: str, names: list[str]) -> EntityNotFoundError:
    error = EntityNotFoundError("Source", wanted)
    alike = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {alike[0]}?" if alike else "rosetta sources list shows all"
    error.message = f"no source has the name or id '{wanted}'; {hint}"
    return error


@asynccontextmanager
async def opened(chosen: settings.Settings) -> AsyncIterator[Workbench]:
    """A workbench with a connection to the config database; StartError if there is none."""
    bench = Workbench(chosen)
    try:
        await bench.database.open()
        yield bench
    finally:
        await bench.close()


def run(command: str, work: Callable[[Workbench], Awaitable[int]], *, needs_key: bool = True) -> int:
    """Runs `work` and returns its exit code; 1, after one line that says why, if it fails.

    Without `needs_key` the command works without the key for source passwords.
    """

    async def opened_and_run() -> int:
        chosen = settings.load(needs_key=needs_key)
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
