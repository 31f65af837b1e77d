"""Two processes of the service over one Redis, one config database and one source."""

import asyncio
import sys
from collections import deque
from time import monotonic

import httpx
import redis.cluster
from psycopg.conninfo import conninfo_to_dict

from service.demo.embedded import free_port
from service.demo.reaper import Reaper
from tests.consistency.content import fill
from tests.consistency.history import AT_START
from tests.consistency.sabotage import IN_DATABASE, drop_event_triggers
from tests.consistency.saboteur import TOLD
from tests.fixtures.databases import connect
from tests.fixtures.metadata import KEY
from tests.fixtures.process import surroundings

PROCESSES = 2


class Process:
    """One `rosetta serve`; `told` has the marks that its listener received, and when it did so first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.port = free_port()
        self.told: dict[int, float] = {AT_START: 0.0}
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
            if line.startswith(TOLD):
                mark, moment = line.removeprefix(TOLD).split()
                self.told.setdefault(int(mark), float(moment))
            # What tells of trouble is kept; what is written all the time would push it out.
            elif b'"request"' not in line and b'"SyncFinished"' not in line:
                self.lines.append(line.decode().rstrip())


class Rig:
    """Everything that a run needs, made and started. Without event triggers it is as if no superuser had migrated."""

    def __init__(
        self,
        reaper: Reaper,
        config_dsn: str,
        redis_url: str,
        shop_dsn: str,
        sabotage: str = "none",
        variables: dict[str, str] | None = None,
        *,
        has_event_triggers: bool = True,
    ) -> None:
        self._reaper = reaper
        self.config_dsn = config_dsn
        self.redis_url = redis_url
        self.shop_dsn = shop_dsn
        self.slot = str(conninfo_to_dict(config_dsn)["dbname"])
        self._sabotage = sabotage
        self._variables = variables or {}
        self._has_event_triggers = has_event_triggers
        self.processes = [Process(number) for number in range(PROCESSES)]

    async def __aenter__(self) -> "Rig":
        fill(self.config_dsn, self.shop_dsn, self.slot)
        with connect(self.config_dsn) as config:
            if not self._has_event_triggers:
                drop_event_triggers(config)
            if self._sabotage in IN_DATABASE:
                config.execute(IN_DATABASE[self._sabotage])
        environment = surroundings() | {
            "ROSETTA_CONFIG_DSN": self.config_dsn,
            "ROSETTA_REDIS_URL": self.redis_url,
            "CREDENTIAL_ENCRYPTION_KEY": KEY,
            "ROSETTA_PUBLICATION_TTL_S": "1",
            "ROSETTA_SYNC_BUDGET_MS": "10000",
            "ROSETTA_SAMPLE_SHARE": "0",
            **self._variables,
        }
        in_process = self._sabotage if self._sabotage not in IN_DATABASE else "none"
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
