"""An explanation of a page, in words."""

from typing import Any


def lines(facts: dict[str, Any]) -> list[str]:
    """What a person reads."""
    process, asked = facts["process"], facts["source"]
    said = [f"{facts['name']} (source {facts['id']})"]
    if "error" in process:
        said.append(f"  process: {process['url']} {process['error']}; --url names another one")
    else:
        said.append(f"  process {process['name']}: {_page_words(process['page'])}")
        if not process["hears_notifications"]:
            said.append("  process: it hears no notifications now: a page may be as old as its TTL")
        if not process["uses_redis"]:
            said.append("  process: it does not use Redis now")
    said += [
        f"  Redis: {_redis_words(facts['redis'])}",
        f"  tables: {_table_words(facts)}",
        f"  source database: {asked.get('error') or 'answers in ' + str(asked['took_ms']) + ' ms'}",
        f"  last sync: {facts['synced_at'] or 'never'}; {facts['published_tables']} of {facts['registered_tables']} "
        "registered tables were published then",
    ]
    if facts["failing_since"]:
        said.append(
            f"  last failure: scheduled syncs have failed since {facts['failing_since']} ({facts['last_error']})"
        )
    if facts["evictions"]:
        said.append("  last evictions of this process:")
        said += [
            f"    {each['at']}  {each['cause']}{' (every page)' if each['of_all'] else ''}"
            for each in facts["evictions"][:5]
        ]
    return [*said, "  next:", *(f"    {step}" for step in facts["next"])]


def _page_words(page: dict[str, Any] | None) -> str:
    if page is None:
        return "no page"
    words = f"{page['bytes']:,} bytes as of {page['as_of']}, for {page['ttl_s']:.0f} s more"
    if page["differs"] is None:
        return f"{page['bytes']:,} bytes that are no page of this service"
    verdict = f"older than the database in {', '.join(page['differs'])}" if page["differs"] else "as the database says"
    return f"{words}; {verdict}"


def _redis_words(redis: dict[str, Any]) -> str:
    if "error" in redis:
        return f"cannot be reached ({redis['error']}): pages come from each process and PostgreSQL"
    words = [_page_words(redis["page"])]
    if redis["is_being_computed"]:
        words.append("a fill is under way")
    if redis["publication_tables"] is not None:
        words.append(
            f"a publication of {redis['publication_tables']} tables is kept for {redis['publication_ttl_s']:.0f} s more"
        )
    return "; ".join(words)


def _table_words(facts: dict[str, Any]) -> str:
    if since := facts["read_live_since"]:
        return f"read live: something changed at {since}, and the view has not been refreshed since"
    return f"from the view, refreshed at {facts['view_refreshed_at']}"


def steps(facts: dict[str, Any]) -> list[str]:
    """What the next reader gets, and what to do if that is not right."""
    process, redis, asked = facts["process"], facts["redis"], facts["source"]
    own, shared = process.get("page"), redis.get("page")
    found = []
    if own:
        found.append(f"the next reader gets the page of this process, for {own['ttl_s']:.0f} s more")
    elif shared and process.get("uses_redis", True):
        found.append(f"the next reader gets the page from Redis, for {shared['ttl_s']:.0f} s more")
    else:
        where = "the tables, live" if facts["read_live_since"] else "the view"
        found.append(f"the next reader gets a page computed from {where}")
    if any(page and page["differs"] != [] for page in (own, shared)):
        found.append(f"an older page is kept: its eviction is on its way, or was lost; rosetta evict {facts['id']}")
    if facts["read_live_since"]:
        found.append("a running service refreshes the view; until then the tables are read live")
    if "published_tables" in asked and asked["published_tables"] != facts["published_tables"]:
        found.append(
            f"the source publishes {asked['published_tables']} tables now; to record that: rosetta sync {facts['id']}"
        )
    if "error" in asked:
        found.append(f"the page shows what the last sync found; rosetta sources test {facts['id']}")
    return found
