"""What happens in the demo's sources while a person looks."""

from collections.abc import Callable, Iterator
from time import monotonic

import psycopg
import pytest

from service.demo import catalog, shop
from service.demo.life import Life
from service.demo.reaper import Reaper
from service.demo.servers import Postgres

# It brings servers of its own, from wheels.
pytestmark = pytest.mark.servers
_SLOTS = """
    SELECT slot_name, active, pg_current_wal_lsn() - confirmed_flush_lsn AS lag FROM pg_replication_slots
"""
_OFFERS = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = 'offers'::regclass AND attnum > 0 AND NOT attisdropped
"""
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def source() -> Iterator[tuple[Reaper, Postgres]]:
    """A server with the demo's two sources."""
    with Reaper() as reaper:
        server = Postgres(reaper, "source", settings={"wal_level": "logical"})
        server.start()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            for database in (shop.DATABASE, catalog.DATABASE):
                connection.execute(f"CREATE DATABASE {database}")
        for database, create in ((shop.DATABASE, shop.create), (catalog.DATABASE, catalog.create)):
            with psycopg.connect(server.dsn(database), autocommit=True) as connection:
                create(connection)
        yield reaper, server
        server.stop()


def until(holds: Callable[[], bool]) -> None:
    """Returns when it holds."""
    deadline = monotonic() + 30
    while not holds():
        assert monotonic() < deadline


def test_changes_of_the_catalog_go_in_a_circle(source: tuple[Reaper, Postgres]) -> None:
    """Four changes, and it is as it was; the demo can run for days."""
    with psycopg.connect(source[1].dsn(catalog.DATABASE), autocommit=True) as connection:
        seen = [connection.execute(_OFFERS).fetchall()]
        for _ in range(4):
            connection.execute(catalog.next_change(connection))
            seen.append(connection.execute(_OFFERS).fetchall())
        catalog.create(connection)
    assert sorted(seen[4]) == sorted(seen[0])
    assert len({str(each) for each in seen}) == 4


def test_lag_rises_and_falls_and_nothing_goes_on_afterwards(source: tuple[Reaper, Postgres]) -> None:
    """While the slots are read, also if nothing answers at the service's address."""
    reaper, server = source
    life = Life(reaper, server, "http://127.0.0.1:1", pace=0.02)
    with psycopg.connect(server.dsn(catalog.DATABASE), autocommit=True) as connection:
        before = connection.execute(_OFFERS).fetchall()

        def slot() -> tuple[object, int]:
            slots = {str(name): (active, int(str(lag))) for name, active, lag in connection.execute(_SLOTS)}
            return slots[shop.SLOT]

        life.start()
        for _ in range(2):
            until(lambda: slot()[1] > 4_000_000)
            until(lambda: slot() < (True, 2_000_000))
        until(lambda: connection.execute(_OFFERS).fetchall() != before)
        life.stop()
        until(lambda: not slot()[0])
        lag = slot()[1]
        assert slot() == (False, lag)
