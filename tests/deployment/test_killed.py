"""The service is killed with SIGKILL during its work: nothing is half-written, and the next process completes it."""

import signal
import threading

import httpx
import pytest

from tests.fixtures.databases import Sql, connect, with_database
from tests.fixtures.metadata import add_source, add_table
from tests.fixtures.process import Process, StartProcess
from tests.fixtures.shop import history, tables

pytestmark = pytest.mark.faults


def syncing(process: Process, source: int) -> threading.Thread:
    """A running force_refresh, which gets no answer."""

    def sync() -> None:
        with pytest.raises(httpx.TransportError):
            process.client.get(f"/api/v1/sources/{source}/details", params={"force_refresh": "true"})

    thread = threading.Thread(target=sync)
    thread.start()
    return thread


def kill(process: Process, thread: threading.Thread) -> None:
    """Sends SIGKILL, and waits for the process and the thread."""
    process.send(signal.SIGKILL)
    process.wait()
    thread.join(20)


def until_it_waits(config: Sql) -> None:
    """Waits until a statement of the service waits for a lock."""
    waiting = """
        SELECT count(*) AS n FROM pg_stat_activity
        WHERE application_name = 'rosetta-source-details' AND wait_event_type = 'Lock'
        """
    while not (config.execute(waiting).fetchone() or {})["n"]:
        continue


def complete(serve: StartProcess, source: int) -> dict[str, int]:
    """Syncs with another process. Returns the tables with their versions."""
    process = serve()
    process.until_ready()
    page = process.client.get(f"/api/v1/sources/{source}/details", params={"force_refresh": "true"}).json()
    assert page["meta"]["sync"]["outcome"] == "synced"
    return tables(page)


def test_while_the_source_is_asked(serve: StartProcess, config: Sql, published: Sql, shop_dsn: str) -> None:
    """The sync waits for a lock on the source's catalogs; nothing has been written."""
    source = add_source(config, shop_dsn)
    process = serve()
    process.until_ready()
    with published.transaction():
        published.execute("LOCK TABLE pg_attrdef IN ACCESS EXCLUSIVE MODE")
        thread = syncing(process, source)
        until_it_waits(config)
        kill(process, thread)
    assert history(config) == []
    assert complete(serve, source) == {"orders": 1}


def test_while_it_is_recorded(serve: StartProcess, config: Sql, config_dsn: str, published: Sql, shop_dsn: str) -> None:
    """The server rolls back the open transaction when its client is gone."""
    source = add_source(config, shop_dsn)
    process = serve()
    process.until_ready()
    published.execute("CREATE TABLE lines (id int)")
    with connect(config_dsn) as other, other.transaction():
        other.execute("SELECT FROM sources WHERE id = %s FOR UPDATE", (source,))
        thread = syncing(process, source)
        until_it_waits(config)
        kill(process, thread)
        assert history(config) == []
    assert complete(serve, source) == {"lines": 1, "orders": 1}
    assert [version for _, version, _ in history(config)] == [1, 1]


def test_while_the_view_is_refreshed(
    serve: StartProcess, config: Sql, config_dsn: str, published: Sql, shop_dsn: str
) -> None:
    """What the sync recorded is kept, readers get it, and another process refreshes the view."""
    assert published
    source = add_source(config, shop_dsn)
    process = serve()
    process.until_ready()
    with connect(config_dsn) as operator:
        operator.execute("BEGIN")
        # Holds the view's lock, so that the service's refresh has to wait and be tried again.
        operator.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY source_details_tables")
        thread = syncing(process, source)
        while not history(config):
            continue
        kill(process, thread)
        operator.execute("ROLLBACK")
    assert history(config) == [("orders", 1, "INITIAL_LOAD")]
    assert complete(serve, source) == {"orders": 1}
    uncovered = "SELECT count(*) AS n FROM source_details_log"
    while (config.execute(uncovered).fetchone() or {})["n"]:
        continue


def test_start_waits_for_the_config_database_where_it_is_told_to(
    serve: StartProcess, config: Sql, config_dsn: str
) -> None:
    """It logs one line, and serves pages as soon as the database accepts connections."""
    source = add_source(config)
    add_table(config, source)
    name = config.info.dbname
    with connect(with_database(config_dsn, "postgres")) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        process = serve(ROSETTA_START_WAIT_S="60", ROSETTA_REDIS_URL="redis://127.0.0.1:1/0")
        while "waiting to start" not in process.log:
            continue
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    process.until_ready()
    assert process.client.get(f"/api/v1/sources/{source}/details").json()["source"]["id"] == source
    assert process.log.count("waiting to start") == 1
