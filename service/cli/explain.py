"""`rosetta explain ID`: explains the state of a source's page."""

import argparse
import functools
import json
from typing import Any

from service.cache.inspection import held
from service.cache.store import CacheUnavailableError
from service.cli.common import FINE, Workbench, run, show
from service.errors import EntityNotFoundError, SourceUnreachableError
from service.sources.address import SourceAddress


def main(arguments: list[str]) -> int:
    """0 if the source exists."""
    parser = argparse.ArgumentParser(prog="rosetta explain", description="Explain the state of a source's page.")
    parser.add_argument("id", type=int)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    return run("explain", functools.partial(_explain, options))


async def _explain(options: argparse.Namespace, bench: Workbench) -> int:
    state = await bench.database.fetch_one("source_state", id=options.id)
    row = await bench.database.fetch_one("source_connection", id=options.id)
    if state is None or row is None:
        raise EntityNotFoundError("Source", str(options.id))
    cached = await _cached(bench, options.id)
    asked = await _asked(bench, SourceAddress.of(row))
    facts = {"id": options.id, **state, "redis": cached, "source": asked}
    lines = [
        f"{state['name']} (source {options.id})",
        f"  Redis: {_cache_words(cached)}",
        f"  tables: {_table_words(state)}",
        f"  source database: {asked.get('error') or 'answers in ' + str(asked['took_ms']) + ' ms'}",
        f"  last sync: {state['synced_at'] or 'never'}; {state['published_tables']} of {state['registered_tables']} "
        "registered tables were published then",
    ]
    if state["failing_since"]:
        lines.append(
            f"  last failure: scheduled syncs have failed since {state['failing_since']} ({state['last_error']})"
        )
    if "published_tables" in asked and asked["published_tables"] != state["published_tables"]:
        lines.append(
            f"  the source publishes {asked['published_tables']} tables now; to record that: rosetta sync {options.id}"
        )
    show(facts, lines, as_json=options.json)
    return FINE


async def _cached(bench: Workbench, source_id: int) -> dict[str, Any]:
    try:
        holding = await held(bench.redis, bench.cache.keys, source_id)
    except CacheUnavailableError as error:
        return {"error": str(error)}
    names, publication = None, holding.publication
    if publication:
        names = len(json.loads(publication)["names"])
    return {
        "bytes": len(holding.page) if holding.page else 0,
        "as_of": json.loads(holding.page)["meta"]["as_of"] if holding.page else None,
        "ttl_ms": holding.page_ttl_ms if holding.page else None,
        "is_being_computed": holding.is_being_computed,
        "remembered_publication_tables": names,
        "remembered_publication_ttl_ms": holding.publication_ttl_ms if names is not None else None,
    }


def _cache_words(cached: dict[str, Any]) -> str:
    if "error" in cached:
        return f"cannot be reached ({cached['error']}): pages come from each process and PostgreSQL"
    words = ["no page"]
    if cached["bytes"]:
        words = [f"{cached['bytes']:,} bytes as of {cached['as_of']}, for {cached['ttl_ms'] / 1000:.0f} s more"]
    if cached["is_being_computed"]:
        words.append("a fill is under way")
    if cached["remembered_publication_tables"] is not None:
        words.append(
            f"a publication of {cached['remembered_publication_tables']} tables is kept for "
            f"{cached['remembered_publication_ttl_ms'] / 1000:.0f} s more"
        )
    return "; ".join(words)


def _table_words(state: dict[str, Any]) -> str:
    if since := state["read_live_since"]:
        return f"read live: something changed at {since}, and the view has not been refreshed since"
    return f"from the view, refreshed at {state['view_refreshed_at']}"


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
