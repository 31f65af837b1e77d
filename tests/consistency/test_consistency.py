"""No read is older than what its process had been told, and the checker would notice one."""

import asyncio
from pathlib import Path

import pytest

from tests.consistency.content import PAGE_KEYS
from tests.consistency.promotion import promote_old_page
from tests.consistency.rig import Rig
from tests.consistency.workload import Workload
from tests.fixtures.databases import Databases
from tests.fixtures.redis_deployments import RedisCluster
from tests.fixtures.servers import Servers

pytestmark = pytest.mark.consistency
SEED = 20
POLLING = {"ROSETTA_POLL_INTERVAL_S": "1"}


# What the workload must not have left out, whatever the machine.
DONE = {
    "READ COMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
    "origin",
    "replica",
    "rewrite a table",
    "fill a table again",
    "add a column",
    "drop a column",
    "write unseen",
    "sync",
}


@pytest.mark.parametrize("has_event_triggers", [True, False])
async def test_no_read_is_older_than_what_its_process_was_told(
    servers: Servers, config_dsn: str, redis_url: str, shop_dsn: str, tmp_path: Path, has_event_triggers: bool
) -> None:
    """Two processes, every kind of write, operators of every kind, listeners cut off all the time.

    Without event triggers a refresh by hand is found by polling: what no trigger saw is promised from then on.
    """
    async with Rig(
        servers.reaper, config_dsn, redis_url, shop_dsn, has_event_triggers=has_event_triggers, variables=POLLING
    ) as rig:
        done = DONE | {"write by DDL"} if has_event_triggers else DONE
        workload = Workload(rig, SEED, seconds=12, until_done=done)
        verdict = await workload.run()
    print(verdict.describe())
    if not verdict.holds:
        workload.history.save(tmp_path / "history.jsonl", verdict)
    assert verdict.holds, f"{verdict.violations[:3]}; the history is in {tmp_path}"
    assert verdict.reads > 200
    assert verdict.writes > 100
    assert verdict.untold < verdict.writes / 4
    assert set(workload.counts) >= done
    assert any(kind.endswith("a refresh") for kind in workload.counts)


async def test_redis_cluster_that_moves_and_fails_over_brings_nothing_old_back(
    servers: Servers, config_dsn: str, redis_cluster: RedisCluster, shop_dsn: str, tmp_path: Path
) -> None:
    """The same, while slots move, and replicas take over that have not received the evictions."""
    async with Rig(servers.reaper, config_dsn, redis_cluster.url, shop_dsn) as rig:
        workload = Workload(rig, SEED, seconds=12, disturb=lambda rng: redis_cluster.disturb(rng, PAGE_KEYS))
        verdict = await workload.run()
        lines = [line for process in rig.processes for line in process.lines]
    print(verdict.describe())
    if not verdict.holds:
        workload.history.save(tmp_path / "history.jsonl", verdict)
    assert verdict.holds, f"{verdict.violations[:3]}; the history is in {tmp_path}"
    assert verdict.reads > 200
    assert any("CacheDown" in line for line in lines)
    assert any("CacheUp" in line for line in lines)


async def test_second_config_database_on_the_same_redis_serves_its_own_pages(
    servers: Servers, databases: Databases, redis_url: str, tmp_path: Path
) -> None:
    """Both have sources 1 to 12. Each deployment is judged by what was written to its own database."""
    rigs = [Rig(servers.reaper, databases.migrated(), redis_url, databases.create()) for _ in range(2)]
    async with rigs[0], rigs[1]:
        workloads = [Workload(rig, SEED, seconds=8, only_moves=True) for rig in rigs]
        verdicts = await asyncio.gather(*(workload.run() for workload in workloads))
    for number, (workload, verdict) in enumerate(zip(workloads, verdicts, strict=True)):
        print(verdict.describe())
        if not verdict.holds:
            workload.history.save(tmp_path / f"history-{number}.jsonl", verdict)
    for verdict in verdicts:
        assert verdict.holds, f"{verdict.violations[:3]}; the histories are in {tmp_path}"
        assert verdict.reads > 100


# They end with the first violation; how soon there is one is up to the machine.
@pytest.mark.control
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("sabotage", "only_moves"),
    [
        ("no lease check", False),
        ("no log", False),
        ("no eviction on reconnect", True),
        ("no wait for evictions", True),
        ("moves settled at once", True),
        ("old snapshots trusted", True),
        ("triggers not for replicas", True),
    ],
)
async def test_checker_catches_a_guard_taken_out(
    servers: Servers, config_dsn: str, redis_url: str, shop_dsn: str, sabotage: str, only_moves: bool
) -> None:
    """The negative control: the same run without one guard does not last."""
    async with Rig(servers.reaper, config_dsn, redis_url, shop_dsn, sabotage) as rig:
        verdict = await Workload(rig, SEED, seconds=120, only_moves=only_moves, until_violated=True).run()
    print(verdict.describe())
    assert not verdict.holds, f"not caught: {sabotage}"
    assert verdict.reads


@pytest.mark.parametrize("sabotage", ["none", pytest.param("silent failover", marks=pytest.mark.control)])
async def test_old_page_of_a_promoted_replica_is_noticed(
    servers: Servers, config_dsn: str, redis_cluster: RedisCluster, shop_dsn: str, sabotage: str
) -> None:
    """With a client that follows a failover silently, as redis-py's own does, the replica's old pages are read."""
    # Every read asks Redis, and no page expires meanwhile.
    variables = {"ROSETTA_MEMORY_CACHE_MB": "0", "ROSETTA_CACHE_TTL_S": "300"}
    async with Rig(servers.reaper, config_dsn, redis_cluster.url, shop_dsn, sabotage, variables) as rig:
        verdict = await promote_old_page(rig, redis_cluster, SEED)
    print(verdict.describe())
    assert verdict.holds == (sabotage == "none")
