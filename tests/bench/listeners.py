"""`python -m tests.bench.listeners DSN COUNT`: sessions that only listen, as the services of so many other hosts would.

What they are sent waits in their sockets and is thrown away at intervals: what is measured is the server's work. Prints
a line when all listen. Ends with the server.
"""

import os
import selectors
import sys
import time

import psycopg

from service.pages.listener import CHANNEL

_INTERVAL_S = 0.2


def main() -> None:
    """Listens until it is terminated."""
    dsn, count = sys.argv[1], int(sys.argv[2])
    waiting = selectors.DefaultSelector()
    for _ in range(count):
        connection = psycopg.connect(dsn, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}".encode())
        waiting.register(connection.fileno(), selectors.EVENT_READ, data=connection)
    print("all listen", flush=True)
    while all(os.read(key.fd, 2**20) for key, _ in waiting.select()):
        time.sleep(_INTERVAL_S)


if __name__ == "__main__":
    main()
