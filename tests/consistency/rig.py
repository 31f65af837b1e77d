"""Two processes of the service over one Redis, one config database and one source, and what is on their pages."""

import asyncio
import json
import os
import sys
from collections import defaultdict, deque
from datetime import datetime
from time import monotonic
from typing import Any

import httpx
import redis.cluster

from service.demo.reaper import Reaper
from service.demo.servers import free_port
from tests.fixtures.databases import connect
from tests.fixtures.metadata import KEY, add_source

SOURCES = 12
PAGE_KEYS = [f"source_details:{number}" for number in range(1, SOURCES + 1)]
# Every source is led to each of these.
SHARED = ["north", "south"]
SYNCED = 1
PROCESSES = 2

_WITHOUT_LOG = """
CREATE OR REPLACE FUNCTION public.source_details_announce(changed integer [], is_in_view boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$ BEGIN PERFORM pg_notify('source_details_changed', id::text) FROM unnest(changed) AS id; END $$
"""


class Process:
    """One `rosetta serve`; `evicted` has the marks that it carried out, with the time of the first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.port = free_port()
        self.evicted: dict[int, float] = {}
        self.lines: deque[str] = deque(maxlen=200)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, reaper: Reaper, environment: dict[str, str], sabotage: str) -> None:
        """Returns when it answers."""
        self._reaper = reaper
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.consistency.saboteur", sabotage,
            env=environment | {"ROSETTA_PORT": str(self.port)}, stderr=asyncio.subprocess.PIPE, limit=2**20,
            start_new_session=True,
        )  # fmt: skip
        reaper.watch(self._process.pid)
        self._reading = asyncio.create_task(self._read())
        deadline = monotonic() + 60
        while True:
            try:
                await self.client.get("/health/live")
            except httpx.TransportError:
                assert self._process.returncode is None, "\n".join(self.lines)
                assert monotonic() < deadline, "\n".join(self.lines)
            else:
                return

    async def stop(self) -> None:
        """Ends it."""
        await self.client.aclose()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
            self._reaper.release(self._process.pid)
        if self._reading is not None:
            await self._reading

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            if b'"Evicted"' in line:
                event = json.loads(line)
                moment = datetime.fromisoformat(event["timestamp"]).timestamp()
                for number in event["sources"] or ():
                    self.evicted.setdefault(number, moment)
            # What tells of trouble is kept; what is written all the time would push it out.
            elif b'"level": "debug"' not in line and b'"request"' not in line and b'"SyncFinished"' not in line:
                self.lines.append(line.decode().rstrip())


class Rig:
    """Everything that a run needs, made and started."""

    def __init__(
        self,
        reaper: Reaper,
        config_dsn: str,
        redis_url: str,
        shop_dsn: str,
        sabotage: str = "none",
        variables: dict[str, str] | None = None,
    ) -> None:
        self._reaper = reaper
        self.config_dsn = config_dsn
        self.redis_url = redis_url
        self.shop_dsn = shop_dsn
        self._sabotage = sabotage
        self._variables = variables or {}
        self.processes = [Process(number) for number in range(PROCESSES)]

    async def __aenter__(self) -> "Rig":
        self._fill()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTA_")} | {
            "ROSETTA_CONFIG_DSN": self.config_dsn,
            "ROSETTA_REDIS_URL": self.redis_url,
            "CREDENTIAL_ENCRYPTION_KEY": KEY,
            "ROSETTA_LOG_LEVEL": "debug",
            "ROSETTA_PUBLICATION_TTL_S": "1",
            "ROSETTA_SYNC_BUDGET_MS": "10000",
            "ROSETTA_SAMPLE_SHARE": "0",
            **self._variables,
        }
        in_process = self._sabotage if self._sabotage != "no log" else "none"
        await asyncio.gather(*(process.start(self._reaper, environment, in_process) for process in self.processes))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes))

    def delete(self, key: str) -> None:
        """As an operator does with redis-cli: one connection for one command.

        Raises:
            redis.RedisError: a cluster that fails over has no primary for the key now and then.

        """
        scheme, _, place = self.redis_url.partition("://")
        if scheme == "redis+cluster":
            host, _, port = place.split(",")[0].partition(":")
            with redis.cluster.RedisCluster(host=host, port=int(port)) as client:
                client.delete(key)
        else:
            with redis.Redis.from_url(self.redis_url) as client:
                client.delete(key)

    def _fill(self) -> None:
        with connect(self.shop_dsn) as shop:
            shop.execute("CREATE TABLE orders (id int PRIMARY KEY, note text DEFAULT '0')")
            shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
        with connect(self.config_dsn) as config:
            add_source(config, self.shop_dsn)
            for number in range(2, SOURCES + 1):
                add_source(config, name=f"{number}/0", pg_database="bulk/0")
            config.execute("UPDATE sources SET name = id || '/0'")
            config.execute("INSERT INTO destinations (name) SELECT unnest(%s::text []) || '/0'", (SHARED,))
            config.execute("INSERT INTO pipelines (name, source_id) SELECT 'p' || id, id FROM sources")
            config.execute(
                "INSERT INTO pipelines_destination (pipeline_id, destination_id) "
                "SELECT p.id, d.id FROM pipelines AS p, destinations AS d"
            )
            config.execute(
                "INSERT INTO table_metadata_list (source_id, table_name) "
                "SELECT s.id, t.name FROM sources AS s, (VALUES ('fixed'), ('gone/0')) AS t (name) WHERE s.id <> %s",
                (SYNCED,),
            )
            if self._sabotage == "no log":
                config.execute(_WITHOUT_LOG)

    def view_agrees(self) -> bool:
        """Whether the view, once refreshed by the service or by this, holds what the tables say."""
        with connect(self.config_dsn) as config:
            row = config.execute(
                """
                SELECT count(*) AS differences
                FROM source_details_tables AS s
                FULL JOIN source_details_live AS l USING (table_id)
                WHERE
                    (s.fragment IS DISTINCT FROM l.fragment OR s.source_id IS DISTINCT FROM l.source_id)
                    -- Readers skip the view for these sources, and for all if it is not the recorded view.
                    AND coalesce(s.source_id, l.source_id) NOT IN (SELECT source_id FROM source_details_log)
                    AND NOT EXISTS (SELECT FROM source_details_log WHERE source_id = 0)
                    AND EXISTS (
                        SELECT
                        FROM source_details_tables AS v
                        INNER JOIN source_details_refresh_state AS state
                            ON state.view_xid = v.view_xid AND state.view_snapshot::text = v.view_snapshot::text
                    )
                """
            ).fetchone()
        return row == {"differences": 0}


def shown(page: dict[str, Any]) -> dict[str, int]:
    """The registers on a page: what is counted up, and how far it shows."""
    saw = {"name": int(page["source"]["name"].split("/")[1])}
    if page["source"]["pg_database"].startswith("bulk/"):
        saw["bulk"] = int(page["source"]["pg_database"].split("/")[1])
    destinations: dict[str, int] = defaultdict(int)
    for name in page["destinations"]:
        kind, _, number = name.partition("/")
        destinations[kind] = max(destinations[kind], int(number))
    saw.update(destinations)
    for table in page["tables"]:
        if table["table_name"] == "fixed":
            saw["version"] = table["version"]
            saw["schema"] = int(table["schema_table"][0]["default_value"]) if table["schema_table"] else 0
        elif table["table_name"] == "orders":
            note = next(column for column in table["schema_table"] if column["column_name"] == "note")
            saw["sync"] = int(note["default_value"].split("'")[1])
        else:
            saw["cascade"] = int(table["table_name"].split("/")[1])
    return saw
