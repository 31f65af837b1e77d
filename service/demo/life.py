"""What happens in the demo's sources while a person looks: writes, clients that read the slots, changes of a schema.

The client of the shop's slot pauses now and then, so its lag rises and falls. The catalog gets a column, and loses it.
"""

import threading
from collections.abc import Callable

import httpx
import psycopg

from service.demo import catalog, shop
from service.demo.reaper import Reaper
from service.demo.servers import Postgres
from service.demo.slot_client import SlotClient

# The client reads for so long, and pauses for so long: less than the minute after which the WAL monitor calls a client
# stalled, for the shop is the demo's healthy source. The chart of an hour draws a point for half a minute.
_READS_S, _PAUSES_S = 75.0, 45.0
_WRITE_EVERY_S = 0.5
_FIRST_CHANGE_S, _CHANGE_EVERY_S = 20.0, 60.0
_TRY_AGAIN_S, _END_S = 2.0, 10.0
# The same rows again and again: a demo that runs for a week fills no disk.
_WRITE = """
    INSERT INTO customers (title, notes)
    SELECT 'customer', '' FROM generate_series(1, 200) WHERE NOT EXISTS (SELECT FROM customers);
    UPDATE customers SET notes = repeat(md5(random()::text), 30), updated_at = now()
"""


class Life:
    """Threads and clients that keep the sources busy, until `stop`. `pace` multiplies all times."""

    def __init__(self, reaper: Reaper, source: Postgres, url: str, *, pace: float = 1) -> None:
        self._source = source
        self._url = url
        self._pace = pace
        self._is_over = threading.Event()
        self._clients = [
            SlotClient(reaper, source, database, slot=slot, publication=publication)
            for database, slot, publication in (
                (shop.DATABASE, shop.SLOT, shop.PUBLICATION),
                (catalog.DATABASE, catalog.SLOT, catalog.PUBLICATION),
            )
        ]
        self._threads = [
            threading.Thread(target=self._over_and_over, args=(work,), name=work.__name__, daemon=True)
            for work in (self._write, self._pause, self._change)
        ]

    def start(self) -> None:
        """Starts everything."""
        for client in self._clients:
            client.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends everything, and waits for it. Before the source is stopped."""
        self._is_over.set()
        for thread in self._threads:
            if thread.is_alive():
                # A person may have frozen the source: then it waits for an answer, and ends with the process.
                thread.join(_END_S)
        for client in self._clients:
            client.stop()

    def _over_and_over(self, work: Callable[[], None]) -> None:
        while not self._is_over.is_set():
            try:
                work()
            except (psycopg.Error, httpx.HTTPError):
                # A person may stop servers, lock tables, or drop them, to see what the page says of it.
                self._waits(_TRY_AGAIN_S)

    def _write(self) -> None:
        with self._connected(shop.DATABASE) as connection:
            while not self._waits(_WRITE_EVERY_S):
                connection.execute(_WRITE)

    def _pause(self) -> None:
        client = self._clients[0]
        if not self._waits(_READS_S):
            client.pause()
            self._waits(_PAUSES_S)
            client.resume()

    def _change(self) -> None:
        if self._waits(_FIRST_CHANGE_S):
            return
        while True:
            with self._connected(catalog.DATABASE) as connection:
                connection.execute(catalog.next_change(connection))
            listed = httpx.get(f"{self._url}/api/v1/sources", params={"search": catalog.DATABASE}, timeout=20)
            for found in listed.raise_for_status().json():
                httpx.post(f"{self._url}/api/v1/sources/{found['id']}/refresh", timeout=20).raise_for_status()
            if self._waits(_CHANGE_EVERY_S):
                return

    def _waits(self, seconds: float) -> bool:
        """Whether it is over after that time, or before."""
        return self._is_over.wait(seconds * self._pace)

    def _connected(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        # A person's own lock must not hold the end of the demo up.
        return psycopg.connect(
            self._source.dsn(database), autocommit=True, connect_timeout=5, options="-c statement_timeout=5s"
        )
