"""The cost of a response, counted instead of timed: statements in the databases, copies of a page, encodings made."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from service.database.migrations import migrate
from service.demo.servers import Postgres
from service.http.compression import form
from tests.fixtures.databases import Sql, connect
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service, Start
from tests.fixtures.servers import Servers

# The statements that a transaction of the pool adds: BEGIN and COMMIT.
_TRANSACTION = 2
_STATEMENT = re.compile(
    r"^<(postgres|shop) rosetta-source-details> LOG:  duration: \S+ ms  (?:execute \S+|statement): ?(.*)$", re.MULTILINE
)


class Counted:
    """A server that logs every statement, and the statements logged so far."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._log = server.folder / "server.log"
        self._read = 0

    def statements(self) -> dict[str, list[str]]:
        """The statements that the service's sessions have run since the last call, by database."""
        text = self._log.read_text(errors="replace")
        new, self._read = text[self._read :], len(text)
        found: dict[str, list[str]] = {"postgres": [], "shop": []}
        for database, statement in _STATEMENT.findall(new):
            found[database].append(statement)
        return found


@pytest.fixture
def counted(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """Such a server with a migrated config database, and a source with two tables."""
    settings = {"log_min_duration_statement": "0", "log_line_prefix": "<%d %a> ", "wal_level": "logical"}
    server = Postgres(servers.reaper, tmp_path_factory.mktemp("counted").name, settings=settings)
    server.start()
    migrate(server.dsn(), say=lambda _: None)
    with connect(server.dsn()) as admin:
        admin.execute("CREATE DATABASE shop")
    with connect(server.dsn("shop")) as shop:
        shop.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        shop.execute("CREATE TABLE lines (id int PRIMARY KEY)")
        shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    yield Counted(server)
    server.stop("immediate")


async def started(start: Start, counted: Counted) -> Service:
    """A service without background work while statements are counted."""
    service: Service = await start(
        config_dsn=SecretStr(counted.server.dsn()), canary_interval_s=3600, poll_interval_s=3600
    )
    assert await service.runtime.refresher.wait_until_covered(20)
    return service


def source_of(config: Sql, counted: Counted) -> int:
    """A source that points to the shop."""
    return add_source(config, counted.server.dsn("shop"))


async def test_statements_of_a_page(start: Start, counted: Counted) -> None:
    """None for a hit. One for a miss, whether the view covers the source or not; the source is not asked again."""
    with connect(counted.server.dsn()) as config:
        source = source_of(config, counted)
        add_table(config, source)
        service = await started(start, counted)
        await service.sync(source)
        for _ in range(3):
            await service.details(source)
        await service.settled(config)
        assert await service.runtime.refresher.wait_until_covered(20)
        counted.statements()
        await service.details(source, headers={"Cache-Control": "no-cache"})
        found = counted.statements()
        assert len(found["postgres"]) == 1
        assert found["postgres"][0].startswith("/* details */")
        assert found["shop"] == []
        for _ in range(3):
            await service.details(source)
        assert counted.statements() == {"postgres": [], "shop": []}


async def test_statements_of_a_sync(start: Start, counted: Counted) -> None:
    """One message in the source.

    In the config database: the look-up, the recording with its locks, and the page.
    """
    with connect(counted.server.dsn()) as config:
        source = source_of(config, counted)
        service = await started(start, counted)
        for _ in range(8):
            # psycopg prepares a statement after five executions; from then on nothing new is prepared.
            await service.sync(source)
        await service.settled(config)
        assert await service.runtime.refresher.wait_until_covered(20)
        counted.statements()
        page = await service.sync(source)
        assert page["meta"]["sync"]["tables_changed"] == []
        found = counted.statements()
        assert len(found["shop"]) == 1
        look_up, recording, pages, checks = 2, 4, 1, 2
        ours = found["postgres"]
        assert len(ours) == look_up + recording + pages + checks + 2 * _TRANSACTION, "\n".join(ours)


async def test_hit_sends_the_very_bytes_that_are_kept(service: Service, config: Sql) -> None:
    """No copy of a page of any size, in any encoding."""
    source = add_source(config)
    for number in range(50):
        add_table(config, source, f"table_{number}")
    await service.settled(config)
    while "detail=memory" not in (await service.details(source)).headers["cache-status"]:
        continue
    page = service.runtime.pages.memory.get(source)
    assert page is not None
    app = service.app.asgi

    async def sent(encoding: bytes) -> bytes:
        messages: list[Any] = []

        async def send(message: Any) -> None:
            messages.append(message)

        scope: Any = {
            "type": "http", "method": "GET", "query_string": b"", "path": f"/api/v1/sources/{source}/details",
            "headers": [(b"accept-encoding", encoding)],
        }  # fmt: skip
        await app(scope, None, send)  # type: ignore[arg-type]  # nothing is received
        body: bytes = messages[-1]["body"]
        return body

    assert await sent(b"identity") is page.body
    assert await sent(b"gzip") is await form(page, "gzip", lambda: None)
