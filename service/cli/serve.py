"""`rosetta serve`: runs one process of the service."""

import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack
from time import monotonic

import click
import structlog
import uvicorn

from service import descriptors
from service.app import build
from service.cli.output import FAILED, FINE, complain
from service.concurrency import end
from service.config import settings
from service.errors import StartError
from service.http.protocol import Protocol
from service.runtime import Runtime
from service.telemetry import tracing
from service.telemetry.log_lines import configure_logging

_GRACE_S = 10
_START_PAUSE_S = 0.5


@click.command("serve", epilog="Every setting is an environment variable: rosetta settings shows them.")
@click.option("--host", help="Address to listen on. [ROSETTA_HOST; default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on. [ROSETTA_PORT; default: 8000]")
def command(host: str | None, port: int | None) -> int:
    """Run the service until SIGTERM or Ctrl-C; open requests are finished.

    \b
    Examples:
      rosetta serve --port 8001
      ROSETTA_ACCESS_TOKENS=... rosetta serve --host 0.0.0.0
    """
    options = {"host": host, "port": port}
    try:
        chosen = settings.load(chosen={name: value for name, value in options.items() if value is not None})
        configure_logging(chosen.log_format, chosen.log_level, chosen.secrets)
        descriptors.raise_limit()
        _run(chosen)
    except StartError as error:
        complain(f"rosetta serve: {error}")
        return FAILED
    return FINE


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
    async with AsyncExitStack() as stack:
        # First, so that a port in use is noticed before anything is connected; it listens only once the service runs.
        bound = stack.enter_context(_bind(chosen.host, chosen.port))
        if chosen.otlp_endpoint:
            stack.push_async_callback(asyncio.to_thread, tracing.start(chosen.otlp_endpoint, chosen.trace_share))
        runtime = await _started_unless_stopped(chosen)
        if runtime is None:
            structlog.get_logger().warning("stopped before it served")
            return
        stack.push_async_callback(runtime.stop)
        app = build(runtime, chosen).asgi
        config = uvicorn.Config(
            tracing.traced(app) if chosen.otlp_endpoint else app,
            http=_protocol(chosen),
            ws="none",
            # A pipelined request does not belong to the context of the one before it.
            reset_contextvars=True,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            # By default uvicorn trusts X-Forwarded-For of every caller on this machine.
            proxy_headers=bool(chosen.trusted_proxies),
            forwarded_allow_ips=chosen.trusted_proxies,
            timeout_keep_alive=chosen.keep_alive_s,
            timeout_graceful_shutdown=_GRACE_S,
        )
        structlog.get_logger().info("serving", url=_url(bound))
        # uvicorn raises the signal that stopped it again; it must not interrupt the cleanup here.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        await StreamingServer(config, runtime).serve(sockets=[bound])


def _protocol(chosen: settings.Settings) -> type[Protocol]:
    class Bounded(Protocol):
        request_timeout_s = chosen.request_timeout_s
        answer_timeout_s = request_timeout_s + chosen.longest_answer_s

    return Bounded


class StreamingServer(uvicorn.Server):
    """Ends live streams when it stops: uvicorn waits for its connections, and a stream has no end of its own."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._runtime.begin_stop()
        await super().shutdown(sockets)


async def _started_unless_stopped(chosen: settings.Settings) -> Runtime | None:
    """A runtime that has started; None if SIGTERM came first.

    As process 1 of a container, Python ignores that signal unless somebody handles it.
    """
    starting = asyncio.create_task(_started(chosen))
    if sys.platform == "win32":
        return await starting
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # It may have started in spite of its cancellation.
        is_wanted = starting.done() and not stopped.is_set()
        await end([waiting, *([] if is_wanted else [starting])])
        loop.remove_signal_handler(signal.SIGTERM)
    if is_wanted:
        return starting.result()
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().stop()
    return None


async def _started(chosen: settings.Settings) -> Runtime:
    deadline = monotonic() + chosen.start_wait_s
    said = ""
    while True:
        runtime = Runtime(chosen)
        try:
            await runtime.start()
        except asyncio.CancelledError:
            await runtime.stop()
            raise
        except StartError as error:
            await runtime.stop()
            if monotonic() >= deadline:
                raise
            if str(error) != said:
                said = str(error)
                structlog.get_logger().warning("waiting to start", reason=said)
            await asyncio.sleep(_START_PAUSE_S)
        else:
            return runtime


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise StartError(f"ROSETTA_PORT: cannot listen on {host}:{port}: {error.strerror}") from None
    return bound
