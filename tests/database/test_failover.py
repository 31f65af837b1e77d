"""The config database fails over to a standby, with real streaming replication: the service follows the new primary."""

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from service.database.migrations import migrate
from service.demo.servers import Postgres
from service.errors import StartError
from service.telemetry.events import ListenerDown, ListenerUp
from tests.fixtures.bounds import Bound
from tests.fixtures.databases import connect, until_caught_up
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.runtime import Service, Start
from tests.fixtures.servers import Servers

pytestmark = pytest.mark.faults
_numbers = itertools.count(1)


@pytest.fixture
def pair(servers: Servers) -> Iterator[tuple[Postgres, Postgres]]:
    """A migrated primary and a standby that has caught up."""
    number = next(_numbers)
    primary = Postgres(servers.reaper, f"primary-{number}")
    primary.start()
    migrate(primary.dsn(), say=lambda _: None)
    standby = Postgres(servers.reaper, f"standby-{number}", standby_of=primary)
    standby.start()
    yield primary, standby
    standby.stop("immediate")
    primary.stop("immediate")


async def test_service_follows_the_new_primary(start: Start, pair: tuple[Postgres, Postgres], bound: Bound) -> None:
    """Both hosts are in the DSN; while there is no primary, the last known pages are served."""
    primary, standby = pair
    with connect(primary.dsn()) as config, connect(standby.dsn()) as replica:
        source = add_source(config)
        add_table(config, source)
        dsn = f"postgresql://postgres:{primary.password}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
        service: Service = await start(config_dsn=SecretStr(dsn), config_timeout_ms=3000)
        await service.settled(config)
        assert (await service.details(source)).json()["source"]["name"] == "source-1"
        config.execute("UPDATE sources SET name = 'before'")
        await service.settled(config)
        await service.details(source)
        until_caught_up(config, replica)

        primary.stop("immediate")
        await service.events.until(ListenerDown)
        # The service neither listens to nor reads from a standby.
        page = await service.details(source)
        assert page.json()["source"]["name"] == "before"
        seen = service.events.events.index(service.events.of(ListenerDown)[0])
        with bound("config database failed over: listening to the new primary, from its promotion on", 15):
            replica.execute("SELECT pg_promote()")
            await service.events.until(ListenerUp, after=seen)
        replica.execute("UPDATE sources SET name = 'after'")
        await service.settled(replica)
        page = await service.details(source)
        assert page.json()["source"]["name"] == "after"
        assert "fwd=miss" in page.headers["cache-status"]
        replica.execute("UPDATE table_metadata_list SET table_name = 'renamed'")
        await service.settled(replica)
        page = await service.details(source)
        assert [table["table_name"] for table in page.json()["tables"]] == ["renamed"]


async def test_standby_alone_is_no_config_database(start: Start, pair: tuple[Postgres, Postgres]) -> None:
    """It refuses LISTEN and may return older rows: the start fails and says so."""
    _, standby = pair
    with pytest.raises(StartError, match=r"ROSETTA_CONFIG_DSN: cannot reach the config database: .*read-only"):
        await start(config_dsn=SecretStr(standby.dsn()))
    with psycopg.connect(standby.dsn()) as replica:
        row = replica.execute("SELECT pg_is_in_recovery()").fetchone()
    assert row == (True,)
