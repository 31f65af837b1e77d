"""One process of the service: starts the runtime, serves HTTP until a signal, stops the runtime."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic

import structlog
import uvicorn

from service.app import build
from service.concurrency import end
from service.config.settings import Settings
from service.errors import StartError
from service.http.protocol import Protocol
from service.runtime import Runtime
from service.serving.port import url
from service.telemetry import tracing
from service.telemetry.siblings import Siblings

_GRACE_S = 10
_START_PAUSE_S = 0.5


def run(
    settings: Settings,
    bound: socket.socket,
    *,
    siblings: Siblings | None = None,
    on_server: Callable[[uvicorn.Server], None] = lambda _: None,
) -> None:
    """Serves on a bound socket until SIGTERM or SIGINT, and closes it; `siblings` are the other workers, if any.

    `on_server` gets the server before it listens. Garbage is collected from here on: callers switch that off while they
    import. Raises StartError if the service cannot start.
    """
    # A collection of the oldest generation looks at every object, and no request is answered meanwhile. What exists by
    # now, modules mostly, lives on, and no collection looks at it again; nor, later, at what the start has made.
    gc.freeze()
    gc.enable()
    if sys.platform == "win32":
        # psycopg needs a selector loop there.
        runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
    else:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        runner.run(_serve(settings, bound, siblings, on_server))


class StreamingServer(uvicorn.Server):
    """Ends live streams when it stops: uvicorn waits for its connections, and a stream has no end of its own.

    `beat` is when its event loop last ran (monotonic seconds).
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self._runtime = runtime
        self.beat = monotonic()

    async def on_tick(self, counter: int) -> bool:
        """Runs every 0.1 s."""
        self.beat = monotonic()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops accepting connections, and returns when the open ones have ended."""
        self._runtime.begin_stop()
        await super().shutdown(sockets)


async def _serve(
    settings: Settings,
    bound: socket.socket,
    siblings: Siblings | None,
    on_server: Callable[[uvicorn.Server], None],
) -> None:
    stopped = asyncio.Event()
    if sys.platform != "win32":
        # As process 1 of a container, Python ignores that signal unless somebody handles it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with AsyncExitStack() as stack:
        stack.enter_context(bound)
        if settings.otlp_endpoint:
            stack.push_async_callback(asyncio.to_thread, tracing.start(settings.otlp_endpoint, settings.trace_share))
        runtime = await _started_unless(stopped, settings, siblings)
        if runtime is None:
            structlog.get_logger().warning("stopped before it served")
            return
        stack.push_async_callback(runtime.stop)
        app = build(runtime, settings).asgi
        config = uvicorn.Config(
            tracing.traced(app) if settings.otlp_endpoint else app,
            http=_protocol(settings),
            ws="none",
            # A pipelined request does not belong to the context of the one before it.
            reset_contextvars=True,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            # By default uvicorn trusts X-Forwarded-For of every caller on this machine.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=_GRACE_S,
        )
        server = StreamingServer(config, runtime)
        # uvicorn raises the signal that stopped it again; it must not interrupt the cleanup here.
        if sys.platform == "win32":
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
        else:
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
        # A signal may have come since the start, before uvicorn's own handlers.
        stack.push_async_callback(end, [asyncio.create_task(_exit_once(stopped, server))])
        on_server(server)
        gc.collect()
        gc.freeze()
        # Last: what this worker replaces answers its siblings until now.
        await runtime.reports.open()
        structlog.get_logger().info("serving", url=url(bound))
        await server.serve(sockets=[bound])


def _protocol(settings: Settings) -> type[Protocol]:
    class Bounded(Protocol):
        request_timeout_s = settings.request_timeout_s
        answer_timeout_s = request_timeout_s + settings.longest_answer_s

    return Bounded


async def _exit_once(stopped: asyncio.Event, server: uvicorn.Server) -> None:
    await stopped.wait()
    server.should_exit = True


async def _started_unless(stopped: asyncio.Event, settings: Settings, siblings: Siblings | None) -> Runtime | None:
    """A runtime that has started; None if it was stopped before."""
    starting = asyncio.create_task(_started(settings, siblings))
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # It may have started in spite of its cancellation.
        is_wanted = starting.done() and not stopped.is_set()
        await end([waiting, *([] if is_wanted else [starting])])
    if is_wanted:
        return starting.result()
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().stop()
    return None


async def _started(settings: Settings, siblings: Siblings | None) -> Runtime:
    deadline = monotonic() + settings.start_wait_s
    said = ""
    while True:
        runtime = Runtime(settings, siblings=siblings)
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
