"""What the demo tells a person to try."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.demo import Demo

_KEY = "source_details:1"


def what_to_try(demo: "Demo") -> str:
    """Lines for a person, each of which works as it is printed."""
    psql = demo.config.binaries / "psql"
    page = f"{demo.url}/api/v1/sources/1/details"
    python = sys.executable
    ask_redis = f"{python} -c \"import redis; r = redis.from_url('{demo.redis.url}'); print("
    rename = "UPDATE destinations SET name = 'lake' WHERE name = 'analytics'"
    alter = "ALTER TABLE orders ADD COLUMN gift_note text"
    refresh = "REFRESH MATERIALIZED VIEW source_details_tables"
    return f"""
What to try, in another terminal:

  the page, first computed and then from the cache (see Cache-Status)
    curl -si {page} | head -n 8

  a change in the config database by SQL alone: the next page shows it
    {psql} {demo.config_dsn} -c "{rename}"
    curl -s {page} | tail -c 400

  a change in the source database, found by force_refresh
    {psql} {demo.source_dsn} -c "{alter}"
    curl -s '{page}?force_refresh=true' | tail -c 900

  the cached page in Redis, and its end (without redis-cli, and with)
    {ask_redis}r.ttl('{_KEY}'), r.keys('source_details:*'))"
    {ask_redis}r.delete('{_KEY}'))"
    redis-cli -p {demo.redis.port} TTL "{_KEY}"
    redis-cli -p {demo.redis.port} DEL "{_KEY}"

  an operator's refresh of the view
    {psql} {demo.config_dsn} -c "{refresh}"

  how it is, and what else there is
    curl -s {demo.url}/health/ready
    {demo.url}/schema

psql comes with the wheel; logs are in {demo.reaper.folder}. Ctrl-C ends everything.
"""
