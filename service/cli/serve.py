"""`rosetta serve`: runs the service, in one process or several."""

import gc
import sys

import click

from service import descriptors
from service.cli.output import FAILED, FINE, complain
from service.config import settings
from service.errors import StartError
from service.serving.port import bind
from service.telemetry.log_lines import configure_logging


@click.command("serve", epilog="Every setting is an environment variable: rosetta settings shows them.")
@click.option("--host", help="Address to listen on. [ROSETTA_HOST; default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on. [ROSETTA_PORT; default: 8000]")
@click.option("--workers", help="Processes on that port, or auto: one per core. [ROSETTA_WORKERS; default: 1]")
def command(host: str | None, port: int | None, workers: str | None) -> int:
    """Run the service until SIGTERM or Ctrl-C; open requests are finished.

    With several workers, one that dies is replaced, and SIGHUP replaces all of them, one after the other.

    \b
    Examples:
      rosetta serve --port 8001
      rosetta serve --workers auto
      ROSETTA_ACCESS_TOKENS=... rosetta serve --host 0.0.0.0
    """
    given = {"host": host, "port": port, "workers": workers}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        chosen = settings.load(chosen=options)
        configure_logging(chosen.log_format, chosen.log_level, chosen.secrets)
        descriptors.raise_limit()
        # First, so that a port in use is noticed before anything is connected; it listens only once the service runs.
        bound = bind(chosen.host, chosen.port)
        if chosen.workers == 1:
            gc.disable()
            from service.serving import process

            process.run(chosen, bound)
        elif sys.platform == "win32":
            raise StartError("ROSETTA_WORKERS: Windows has no signals to stop and replace workers with; leave it at 1")
        else:
            # Without the service's own modules: this process only watches the others.
            from service.serving import workers as several

            several.run(chosen, options, bound)
    except StartError as error:
        complain(f"rosetta serve: {error}")
        return FAILED
    return FINE
