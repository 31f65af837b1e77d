"""Programs that write to the config database, each from a thread and a connection of its own."""

import threading
import time

from tests.fixtures.databases import connect

# Each writer has a source of its own: no two wait for the same row.
ONE_ROW = """
    UPDATE table_metadata_list
    SET schema_table = jsonb_set(schema_table, '{column_1,default_value}', to_jsonb(%(number)s::text))
    WHERE source_id = 1 + %(writer)s AND table_name = 'table_1'
"""


def commits(dsn: str, writers: int, seconds: float, statement: str) -> float:
    """Commits a second of a statement that gets the writer's number and a counter."""
    end = time.monotonic() + seconds
    counts = [0] * writers

    def write(writer: int) -> None:
        with connect(dsn) as config:
            while time.monotonic() < end:
                config.execute(statement, {"writer": writer, "number": counts[writer]}, prepare=True)
                counts[writer] += 1

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds
