"""Databases for the tests: one migrated template, cloned per test, and empty ones to be sources."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

import service
from service.database.migrations import migrate
from tests.fix_servers import Servers

_ROLES = Path(service.__file__).parent / "deploy" / "roles.sql"
_SERVICE_PASSWORD = "s3rv1ce-Passw0rd"
_numbers = itertools.count(1)
Sql = psycopg.Connection[DictRow]


def with_database(dsn: str, database: str, **more: Any) -> str:
    """The same server, another database (or user)."""
    return make_conninfo("", **(conninfo_to_dict(dsn) | {"dbname": database} | more))


def connect(dsn: str) -> Sql:
    """An autocommit connection with rows as dictionaries."""
    return psycopg.connect(dsn, autocommit=True, row_factory=dict_row)


class Aside:
    """A statement in a session of its own; `wait_for_lock` returns when it waits for one."""

    def __init__(self, dsn: str, statement: str) -> None:
        self.error: psycopg.Error | None = None
        self._connection = connect(dsn)
        self._thread = threading.Thread(target=self._run, args=(statement,))
        self._thread.start()

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except psycopg.Error as error:
            self.error = error

    def wait_for_lock(self, config: Sql) -> None:
        pid = self._connection.info.backend_pid
        while True:
            row = config.execute("SELECT cardinality(pg_blocking_pids(%s)) AS n", (pid,)).fetchone()
            if row is not None and row["n"]:
                return

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._connection.close()


def as_service(dsn: str) -> str:
    """The same database for the role that has the rights of `roles.sql`, and no more."""
    return make_conninfo(dsn, user="rosetta_service", password=_SERVICE_PASSWORD)


class Databases:
    """Makes databases on one server and drops them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._made: list[str] = []
        self._template: str | None = None

    def create(self, template: str | None = None, options: LiteralString = "", name: str | None = None) -> str:
        """The DSN of a new database; `options` go into CREATE DATABASE."""
        name = name or f"test_{next(_numbers)}"
        with connect(self._dsn) as connection:
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            if template:
                statement += sql.SQL(" TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(template))
            connection.execute(statement + sql.SQL(f" {options}"))
        self._made.append(name)
        return with_database(self._dsn, name)

    def migrated(self, name: str | None = None) -> str:
        """The DSN of a new config database."""
        if self._template is None:
            dsn = self.create()
            migrate(dsn, say=lambda _: None)
            with connect(dsn) as connection:
                connection.execute(_ROLES.read_bytes())
                connection.execute(sql.SQL("ALTER ROLE rosetta_service PASSWORD {}").format(_SERVICE_PASSWORD))
            self._template = self._made.pop()
        return self.create(self._template, name=name)

    def drop(self) -> None:
        """Drops what was made since the last time."""
        with connect(self._dsn) as connection:
            while self._made:
                name = self._made.pop()
                slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s"
                connection.execute(slots, (name,))
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def every_database(servers: Servers) -> Callable[[int], Databases]:
    """The databases of a server of some version, for the whole run."""
    held: dict[int, Databases] = {}

    def of(version: int) -> Databases:
        return held.setdefault(version, Databases(servers.postgres(version)))

    return of


@pytest.fixture
def databases(every_database: Callable[[int], Databases]) -> Iterator[Databases]:
    """Databases on PostgreSQL 18, dropped after the test."""
    made = every_database(18)
    yield made
    made.drop()


@pytest.fixture
def config_dsn(databases: Databases) -> str:
    """A config database of this test's own."""
    return databases.migrated()


@pytest.fixture
def config(config_dsn: str) -> Iterator[Sql]:
    """A connection to the config database, as a program beside the service would have it."""
    with connect(config_dsn) as connection:
        yield connection


@pytest.fixture
def shop_dsn(databases: Databases) -> str:
    """A source database of this test's own, empty."""
    return databases.create()


@pytest.fixture
def shop(shop_dsn: str) -> Iterator[Sql]:
    """A connection to the source database."""
    with connect(shop_dsn) as connection:
        yield connection
