"""A rolling update under load: migrations first, then process by process. No request fails."""

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from service.database import migrations
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import KEY, add_source, add_table
from tests.fixtures.process import Process, StartProcess

pytestmark = pytest.mark.operations

_READERS = 4


class Balancer:
    """A load balancer: sends each request to a process in rotation, and counts open requests."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rotation: list[Process] = []
        self._under_way: Counter[str] = Counter()

    def add(self, process: Process) -> None:
        """Puts a process into rotation once it is ready."""
        process.until_ready()
        assert process.client.get("/health/ready").status_code == 200
        with self._changed:
            self._rotation.append(process)

    def take_out(self, process: Process) -> None:
        """Takes a process out of rotation and waits for the last of its requests."""
        with self._changed:
            self._rotation.remove(process)
            assert self._changed.wait_for(lambda: not self._under_way[process.url], 20)

    def send(self, ask: Callable[[str], httpx.Response]) -> httpx.Response:
        """The response of one process in rotation."""
        with self._changed:
            url = random.choice(self._rotation).url
            self._under_way[url] += 1
        try:
            return ask(url)
        finally:
            with self._changed:
                self._under_way[url] -= 1
                self._changed.notify_all()


def test_no_request_fails_while_old_and_new_are_side_by_side(
    serve: StartProcess, config: Sql, config_dsn: str, tell: Callable[[str], None]
) -> None:
    """Old processes run on the earlier schema, new ones without rights on new tables, since nobody grants them."""
    source = add_source(config)
    add_table(config, source)
    # The state of a deployment before these migrations.
    config.execute("DROP TABLE source_details_schedule, source_details_lag, source_details_wal_round")
    config.execute("DELETE FROM source_details_migrations WHERE name ~ '^(009|010|present)'")
    balancer, over = Balancer(), threading.Event()
    old = [serve(), serve()]
    for process in old:
        balancer.add(process)
    failures: list[str] = []
    reads = Counter[int]()

    # The HTML pages also show data from the new migrations.
    paths = (f"/api/v1/sources/{source}/details", f"/sources/{source}/details", "/")

    def read(number: int) -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                try:
                    answer = balancer.send(lambda url: client.get(url + paths[reads[number] % len(paths)]))
                    if answer.status_code != 200:
                        failures.append(f"{answer.status_code}: {answer.text}")
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                reads[number] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(_READERS)]
    for reader in readers:
        reader.start()
    try:
        environment = os.environ | {"ROSETTA_CONFIG_DSN": config_dsn, "CREDENTIAL_ENCRYPTION_KEY": KEY}
        migrated = subprocess.run(
            [sys.executable, "-m", "service", "migrate"],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        applied = ["009_source_details_schedule.sql", "010_source_details_wal.sql"]
        applied += [f"present/{path.name}" for path in migrations.present()]
        assert migrated.stdout.splitlines() == [f"applying {name}" for name in applied], migrated.stderr
        for process in old:
            balancer.add(serve())
            balancer.take_out(process)
            process.end()
            config.execute("UPDATE sources SET total_tables = coalesce(total_tables, 0) + 1")
        seen = sum(reads.values())
        while sum(reads.values()) < seen + 200:
            assert all(reader.is_alive() for reader in readers)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    tell(f"rolling update: {sum(reads.values()):,} requests, {len(failures)} failed")
    assert failures == []
