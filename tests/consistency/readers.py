"""Readers: what a page showed goes into the history."""

from time import time

from tests.consistency.content import shown
from tests.consistency.history import Read
from tests.consistency.rig import Process
from tests.consistency.run import Run


async def read(run: Run, process: Process, source: int, headers: dict[str, str] | None = None) -> None:
    """One page, read from that process."""
    started = time()
    response = await process.client.get(f"/api/v1/sources/{source}/details", headers=headers)
    ended = time()
    assert response.status_code == 200, response.text
    page = response.json()
    saw, places = shown(page, run.rig.slot)
    found = f"{response.headers['cache-status']}, read from {page['meta']['read_from']}"
    run.history.reads.append(Read(process.number, source, started, ended, saw, places, found))
