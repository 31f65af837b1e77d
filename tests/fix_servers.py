"""Real servers for the tests: containers where a Docker engine answers, else the ones from the wheels."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import psycopg
import pytest
import redis

from service.demo.reaper import Reaper
from service.demo.servers import PASSWORD, Postgres, Valkey

SETTINGS = {"wal_level": "logical", "max_replication_slots": "100", "max_wal_senders": "10", "fsync": "off"}
SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")


_used = pytest.StashKey[list[str]]()


class Servers:
    """Starts each kind of server when a test first asks for it. `used` says what was started, for the summary."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self.kind = kind
        self.used: list[str] = []
        self._stack = stack
        self._postgres: dict[int, str] = {}

    @cached_property
    def reaper(self) -> Reaper:
        """Watches over the servers from wheels."""
        return self._stack.enter_context(Reaper())

    def postgres(self, version: int = 18) -> str:
        """The DSN of a superuser on a server of that major version; skips where there is none."""
        if version not in self._postgres:
            start = self._container if self.kind == "containers" and version != 15 else self._embedded
            self._postgres[version] = start(version)
            with psycopg.connect(self._postgres[version]) as connection:
                row = connection.execute("SHOW server_version").fetchone()
            assert row is not None
            self.used.append(f"PostgreSQL {row[0]} ({self.kind if version != 15 else 'system'})")
        return self._postgres[version]

    @cached_property
    def redis_url(self) -> str:
        """The URL of a Redis that all tests share."""
        if self.kind == "containers":
            from testcontainers.community.redis import RedisContainer

            container = self._stack.enter_context(RedisContainer("redis:7"))
            url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
        else:
            server = Valkey(self.reaper, "redis")
            server.start()
            self._stack.callback(server.stop)
            url = server.url
        with redis.Redis.from_url(url) as client:
            facts = client.info("server")
        name = "Valkey" if "valkey_version" in facts else "Redis"
        self.used.append(f"{name} {facts.get('valkey_version', facts['redis_version'])} ({self.kind})")
        return url

    def _embedded(self, version: int) -> str:
        if version == 15 and not SYSTEM_15.is_dir():
            pytest.skip("no PostgreSQL 15 is installed on this machine")
        binaries = SYSTEM_15 if version == 15 else None
        server = Postgres(self.reaper, f"postgres-{version}", version=version, settings=SETTINGS, binaries=binaries)
        server.start()
        self._stack.callback(server.stop, "immediate")
        return server.dsn()

    def _container(self, version: int) -> str:
        from testcontainers.community.postgres import PostgresContainer

        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        container = PostgresContainer(f"postgres:{version}", password=PASSWORD, driver=None)
        container.with_command(f"postgres {options}")
        return str(self._stack.enter_context(container).get_connection_url())


def engine_answers() -> bool:
    """Whether a Docker engine can be used."""
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        # Where nothing listens, docker's client leaves its socket to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=5)
            client.ping()
            client.close()
            answers = True
        except DockerException:
            answers = False
        gc.collect()
    return answers


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """The servers of this run; see `--servers`."""
    kind = request.config.getoption("--servers")
    if kind == "auto":
        kind = "containers" if engine_answers() else "wheels"
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    with ExitStack() as stack:
        made = Servers(kind, stack)
        request.config.stash[_used] = made.used
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    used = config.stash.get(_used, [])
    terminalreporter.write_line(f"servers used: {', '.join(used) if used else 'none'}")
