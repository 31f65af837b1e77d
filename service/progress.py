"""How a refresh that somebody watches goes on."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

from service.concurrency import keep
from service.http.templates import render
from service.outcome import Outcome, refresh
from service.rooms import event
from service.runtime import Runtime
from service.telemetry.events import Event, SyncPhase


async def progress(runtime: Runtime, source_id: int) -> AsyncIterator[bytes]:
    """Refreshes, told as server-sent events: `phase` ({"phase", "tables", "ms"}) as they come, then `outcome`
    ({"ok", "html"}), or `failure` where there is none. Who leaves does not stop it.
    """
    heard: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
    started = monotonic()

    def say(phase: str, tables: int | None = None) -> None:
        ms = round((monotonic() - started) * 1000)
        heard.put_nowait((event("phase", {"phase": phase, "tables": tables, "ms": ms}), False))

    def hear(about: Event) -> None:
        if isinstance(about, SyncPhase) and about.source_id == source_id:
            say(about.phase, about.tables)

    async def work() -> Outcome:
        return await refresh(runtime, source_id, say)

    def end(done: "asyncio.Task[Outcome]") -> None:
        if done.cancelled() or done.exception() is not None:
            heard.put_nowait((event("failure", {}), True))
            return
        outcome = done.result()
        html = render("outcome.html", is_fragment=True, name="", source_id=source_id, **outcome.facts)
        heard.put_nowait((event("outcome", {"ok": outcome.status == 200, "html": html}), True))

    # A sync that waits behind another one hears that one's phases first.
    stop = runtime.observer.subscribe(hear)
    task = asyncio.ensure_future(work())
    keep(task)
    task.add_done_callback(end)
    try:
        is_last = False
        while not is_last:
            told, is_last = await heard.get()
            yield told
    finally:
        stop()
