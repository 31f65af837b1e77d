"""A replica that has an old page takes over: what a failover of Redis brings back."""

import asyncio

from tests.consistency.content import PAGE_KEYS, SOURCES
from tests.consistency.history import Verdict
from tests.consistency.readers import read
from tests.consistency.rig import Rig
from tests.consistency.run import Run, change
from tests.fixtures.databases import connect
from tests.fixtures.redis_deployments import RedisCluster, eventually

_SOURCE = SOURCES[-1]
_KEY = PAGE_KEYS[-1]
_READS = 20


async def promote_old_page(rig: Rig, cluster: RedisCluster, seed: int) -> Verdict:
    """The verdict on the reads after the takeover: every process had been told of the write before it."""
    run = Run(rig, seed, None)
    with connect(rig.config_dsn) as config:

        def is_settled() -> bool:
            return not config.execute("SELECT FROM source_details_log LIMIT 1").rowcount

        await asyncio.to_thread(eventually, is_settled)
        primary = cluster.owner(_KEY)
        replica = cluster.replica_of(primary)
        # A process that has just started does not use Redis yet.
        while _KEY not in replica.client.keys("*"):
            for process in rig.processes:
                await read(run, process, _SOURCE)
        primary.break_replication()
        await _rename(run)
        # An eviction on its way would take the old page away from the replica, too.
        await asyncio.to_thread(eventually, is_settled)
        await asyncio.to_thread(eventually, lambda: _KEY not in primary.client.keys("*"))
    assert _KEY in replica.client.keys("*")
    cluster.fail_over(primary)
    await asyncio.to_thread(eventually, lambda: cluster.owner(_KEY) is replica)
    for _ in range(_READS):
        for process in rig.processes:
            await read(run, process, _SOURCE)
    run.history.tell([process.told for process in rig.processes])
    return run.history.judge()


async def _rename(run: Run) -> None:
    """Returns when every process has been told."""
    write = run.begin([(_SOURCE, "name")], 1)
    async with await run.connect() as connection, run.transaction(connection, write):
        await change(connection, "UPDATE sources SET name = %s WHERE id = %s", f"{_SOURCE}/1", _SOURCE)
    await asyncio.to_thread(eventually, lambda: all(write.mark in process.told for process in run.rig.processes))
