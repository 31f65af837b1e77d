"""`bin/soak --minutes N --seed S`: the consistency check for longer, on servers of its own."""

import argparse
import asyncio
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
from psycopg import sql

from service.database.migrations import migrate
from service.demo.reaper import Reaper
from service.demo.servers import Postgres, Valkey
from tests.consistency.content import PAGE_KEYS
from tests.consistency.history import Verdict
from tests.consistency.rig import Rig
from tests.consistency.sabotage import IN_DATABASE
from tests.consistency.saboteur import IN_PROCESS
from tests.consistency.workload import Workload
from tests.fixtures.redis_deployments import RedisCluster


def main() -> int:
    """0 if every promise was kept; else 1, with the offending reads in a file."""
    parser = argparse.ArgumentParser(prog="bin/soak", description="Judge every read of a run with many writers.")
    parser.add_argument("--minutes", type=float, default=20, help="how long (default: 20)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="what is done, and when")
    parser.add_argument(
        "--redis",
        choices=["server", "cluster"],
        default="server",
        help="one server, or a cluster whose slots move and whose replicas take over all the time",
    )
    parser.add_argument("--history", type=Path, default=Path("soak-history.jsonl"), help="where offending reads go")
    parser.add_argument(
        "--without",
        choices=[*IN_DATABASE, *IN_PROCESS],
        default="none",
        metavar="GUARD",
        help=f"take a guard out, and end with the first read that shows it: {', '.join([*IN_DATABASE, *IN_PROCESS])}",
    )
    options = parser.parse_args()
    print(f"soak: {options.minutes:g} minutes, --seed {options.seed}", flush=True)
    with Reaper() as reaper, ExitStack() as stack:
        postgres = Postgres(reaper, "postgres", settings={"wal_level": "logical"})
        postgres.start()
        stack.callback(postgres.stop, "immediate")
        if options.redis == "cluster":
            cluster = RedisCluster(reaper, stack)
            redis, disturb = cluster.url, lambda rng: cluster.disturb(rng, PAGE_KEYS)
        else:
            valkey = Valkey(reaper, "redis")
            valkey.start()
            stack.callback(valkey.stop)
            redis, disturb = valkey.url, None
        verdict = asyncio.run(_soak(reaper, postgres, redis, disturb, options))
    print(verdict.describe())
    if not verdict.holds:
        print(f"NOT CONSISTENT: the offending reads are in {options.history}", file=sys.stderr)
        return 1
    return 0


async def _soak(
    reaper: Reaper,
    postgres: Postgres,
    redis_url: str,
    disturb: Callable[[random.Random], None] | None,
    options: argparse.Namespace,
) -> Verdict:
    for name in ("config", "shop"):
        with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrate(postgres.dsn("config"), say=lambda _: None)
    async with Rig(reaper, postgres.dsn("config"), redis_url, postgres.dsn("shop"), options.without) as rig:
        workload = Workload(
            rig,
            options.seed,
            options.minutes * 60,
            until_violated=options.without != "none",
            say=lambda line: print(f"  {line}", flush=True),
            disturb=disturb,
        )
        verdict = await workload.run()
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(workload.counts.items())))
    if not verdict.holds:
        workload.history.save(options.history, verdict)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
