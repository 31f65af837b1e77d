"""`rosetta explain`: why a source's page is as it is, and what comes next."""

import asyncio
from typing import Any

import click

from service.cli.explanation_words import lines, steps
from service.cli.output import FINE, say, show_json
from service.cli.parameters import as_json
from service.cli.parameters import source as source_argument
from service.cli.process import ask, own_url
from service.cli.workbench import Workbench, run
from service.errors import EntityNotFoundError, SourceUnreachableError
from service.pages.explanation import in_redis
from service.sources.address import SourceAddress


@click.command("explain")
@source_argument
@click.option("--url", help="Where the process answers that is asked. [default: http://127.0.0.1:PORT]")
@as_json
def command(source: str, url: str | None, is_json: bool) -> int:
    """Explain why SOURCE's page is as it is, and what comes next.

    Compares what a running process and Redis hold with the database, asks the source, and lists the last evictions. The
    process is called with the token in ROSETTA_TOKEN, if it needs one.

    \b
    Examples:
      rosetta explain shop
      rosetta explain shop --url http://10.0.0.7:8000
    """

    async def work(bench: Workbench) -> int:
        source_id, _ = await bench.source(source)
        facts = await _facts(bench, source_id, url or own_url(bench.settings))
        if is_json:
            show_json(facts)
        else:
            say(*lines(facts))
        return FINE

    return run("explain", work, needs_key=False)


async def _facts(bench: Workbench, source_id: int, url: str) -> dict[str, Any]:
    state = await bench.database.fetch_one("source_state", id=source_id)
    row = await bench.database.fetch_one("source_connection", id=source_id)
    if state is None or row is None:
        raise EntityNotFoundError("Source", str(source_id))
    told = await asyncio.to_thread(ask, url, f"/api/v1/sources/{source_id}/explanation")
    redis = told.get("redis") or await in_redis(bench.redis, bench.cache.keys, bench.pages, source_id)
    facts = {
        "id": source_id,
        **state,
        "process": told.get("process") or {"url": url, "error": told["error"]},
        "redis": redis,
        "source": await _asked(bench, SourceAddress.of(row)),
        "evictions": told.get("evictions", []),
    }
    return facts | {"next": steps(facts)}


async def _asked(bench: Workbench, address: SourceAddress) -> dict[str, Any]:
    try:
        row, phases = await bench.connections.fetch(
            address,
            "remote_publication",
            budget_s=bench.settings.sync_budget_ms / 1000,
            publication=address.publication_name,
        )
    except SourceUnreachableError as error:
        return {"error": error.message}
    return {"published_tables": len(row["names"]) if row else 0, "took_ms": round(sum(phases.values()), 1)}
