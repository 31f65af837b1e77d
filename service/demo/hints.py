"""What a person can try in the demo, with the clients that are installed or with the demo's own."""

import shutil
import sys

from service.cache.keys import Keys
from service.demo.product import Demo

_KEY = Keys().page(1)
_HAS_CURL = shutil.which("curl") is not None


def what_to_try(demo: Demo) -> str:
    """Commands for a person; each works as it is printed."""
    psql = demo.config.binaries / "psql"
    page = f"{demo.url}/api/v1/sources/1/details"
    rename = "UPDATE destinations SET name = 'lake' WHERE name = 'analytics'"
    alter = "ALTER TABLE orders ADD COLUMN gift_note text"
    refresh = "REFRESH MATERIALIZED VIEW source_details_tables"
    return f"""
While you look, programs write to shop: its lag rises while a client of its slot pauses, and falls. catalog gets a
column, and loses it, each minute. Two are in trouble, "shop, archive" and "warehouse (unreachable)": their pages say
what to run.

Try in another terminal; an open page follows:

  the commands, after this line
    source {demo.write_settings()}
    rosetta sources list
    rosetta explain shop

  the page's headers: computed the first time, then cached (see cache-status)
    {_headers(page)}

  a change in the config database by SQL: the next page shows it
    {psql} {demo.config_dsn} -c "{rename}"
    {_end_of(page, 400)}

  a change in the source database: force_refresh finds it
    {psql} {demo.source_dsn} -c "{alter}"
    {_end_of(f"{page}?force_refresh=true", 900)}

  the cached page in Redis: look at it, delete it
    {_redis(demo, "TTL", _KEY)}
    {_redis(demo, "DEL", _KEY)}

  an operator's refresh of the view
    {psql} {demo.config_dsn} -c "{refresh}"

  health, and the API
    {_end_of(f"{demo.url}/health/ready", 2000)}
    {demo.url}/docs

psql comes from the wheel; logs are in {demo.reaper.folder}. Ctrl-C stops everything. Open:

  {demo.url}/
"""


def _headers(url: str) -> str:
    if _HAS_CURL:
        return f"curl -s -o /dev/null -D - {url}"
    return f"{sys.executable} -c \"import httpx; print(*httpx.get('{url}').headers.items(), sep='\\n')\""


def _end_of(url: str, characters: int) -> str:
    if _HAS_CURL:
        return f"curl -s '{url}' | tail -c {characters}"
    return f"{sys.executable} -c \"import httpx; print(httpx.get('{url}', timeout=20).text[-{characters}:])\""


def _redis(demo: Demo, command: str, key: str) -> str:
    if shutil.which("redis-cli"):
        return f'redis-cli -p {demo.redis.port} {command} "{key}"'
    client = f"import redis; print(redis.from_url('{demo.redis.url}').execute_command('{command}', '{key}'))"
    return f'{sys.executable} -c "{client}"'
