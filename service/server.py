"""`rosetta serve`: one process of the service."""

import argparse
import asyncio
import sys

import uvicorn

from service import settings
from service.app import build
from service.errors import StartError
from service.observation import configure_logging
from service.runtime import Runtime

_GRACE_S = 10


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM or SIGINT, then answers what it has accepted. 1 where it cannot start."""
    parser = argparse.ArgumentParser(
        prog="rosetta serve",
        description="Serve source details. Settings are environment variables:",
        epilog=settings.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    try:
        chosen = settings.load()
        configure_logging(chosen.log_format, chosen.log_level, chosen.secrets)
        _run(chosen)
    except StartError as error:
        print(f"rosetta serve: {error}", file=sys.stderr)
        return 1
    return 0


def _run(chosen: settings.Settings) -> None:
    if sys.platform == "win32":
        # psycopg needs a selector loop there.
        runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
    else:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        runner.run(_serve(chosen))


async def _serve(chosen: settings.Settings) -> None:
    runtime = Runtime(chosen)
    try:
        await runtime.start()
        server = uvicorn.Server(
            uvicorn.Config(
                build(runtime),
                host=chosen.host,
                port=chosen.port,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        await server.serve()
        if not server.started:
            raise StartError(f"ROSETTA_PORT: cannot listen on {chosen.host}:{chosen.port} (in use?)")
    finally:
        await runtime.stop()
