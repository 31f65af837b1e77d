"""`python -m tests.bench.listeners DSN COUNT`: sessions that only listen, as the services of so many other hosts would.

What they are sent is thrown away unread, so that what is measured is the server's work. Prints a line when all listen.
"""

import os
import selectors
import sys

import psycopg

from service.pages.listener import CHANNEL


def main() -> None:
    """Listens until it is terminated."""
    dsn, count = sys.argv[1], int(sys.argv[2])
    waiting = selectors.DefaultSelector()
    for _ in range(count):
        connection = psycopg.connect(dsn, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}".encode())
        waiting.register(connection.fileno(), selectors.EVENT_READ, data=connection)
    print("all listen", flush=True)
    while True:
        for key, _ in waiting.select():
            os.read(key.fd, 65_536)


if __name__ == "__main__":
    main()
