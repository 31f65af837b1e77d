"""What is in the databases at the start, and how much of what was written since then a page shows."""

from typing import Any

from tests.fixtures.databases import connect
from tests.fixtures.metadata import add_source

SOURCES = range(1, 13)
PAGE_KEYS = [f"source_details:{number}" for number in SOURCES]
# It is at a server; the others are nowhere.
SYNCED = 1
# Every source is led to each of these.
SHARED = ["north", "south", "altered"]
# What moves, and the two sources that have it in turn.
MOVES = {"moving": (2, 3), "ferried": (4, 5), "carried": (6, 7)}
# The pipeline of this source turns from one of two destinations to the other.
TURNING = 8
TURNS = ("left", "right")
# What is shown of this one from wal_monitor changes without a trigger.
UNSEEN = 9


def fill(config_dsn: str, shop_dsn: str, slot: str) -> None:
    """Fills both databases. The name of the replication slot says of every page which database it comes from."""
    with connect(shop_dsn) as shop:
        shop.execute("CREATE TABLE orders (id int PRIMARY KEY, note text DEFAULT '0')")
        shop.execute("CREATE PUBLICATION rosetta FOR ALL TABLES")
    with connect(config_dsn) as config:
        add_source(config, shop_dsn, replication_name=slot)
        for number in SOURCES[1:]:
            add_source(config, name=f"{number}/0", pg_database="bulk/0", replication_name=slot)
        config.execute("UPDATE sources SET name = id || '/0'")
        config.execute("INSERT INTO pipelines (name, source_id) SELECT 'p' || id, id FROM sources")
        config.execute("INSERT INTO pipelines (name, source_id) VALUES ('ferry', %s)", (MOVES["ferried"][0],))
        config.execute(
            "INSERT INTO destinations (name) SELECT unnest(%s::text []) || '/0'",
            ([*SHARED, *TURNS, "ferried", "carried"],),
        )
        config.execute(
            """
            INSERT INTO pipelines_destination (pipeline_id, destination_id)
            SELECT p.id, d.id FROM pipelines AS p, destinations AS d
            WHERE
                (p.name <> 'ferry' AND split_part(d.name, '/', 1) = ANY (%s))
                OR (p.name, d.name) IN (('ferry', 'ferried/0'), ('p' || %s, 'carried/0'), ('p' || %s, 'left/0'))
            """,
            (SHARED, MOVES["carried"][0], TURNING),
        )
        config.execute(
            "INSERT INTO table_metadata_list (source_id, table_name) "
            "SELECT s.id, t.name FROM sources AS s, (VALUES ('fixed'), ('gone/0')) AS t (name) WHERE s.id <> %s",
            (SYNCED,),
        )
        config.execute(
            "INSERT INTO table_metadata_list (source_id, table_name) VALUES (%s, 'moving')", (MOVES["moving"][0],)
        )
        config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'unseen/0')", (UNSEEN,))
        for event in ("insert", "update", "delete", "truncate"):
            config.execute(f"ALTER TABLE wal_monitor DISABLE TRIGGER source_details_{event}")


def shown(page: dict[str, Any], slot: str) -> tuple[dict[str, int], dict[str, int]]:
    """The registers on a page: what is counted up and how far it shows, and where it shows the things that move."""
    source = page["source"]["id"]
    # What every page has to show. If it is missing, nothing of it was seen.
    saw = dict.fromkeys([*SHARED, *(["sync"] if source == SYNCED else ["bulk", "version", "schema", "cascade"])], 0)
    saw["own"] = int(page["source"]["replication_name"] == slot)
    saw["name"] = _number(page["source"]["name"])
    if source != SYNCED:
        saw["bulk"] = _number(page["source"]["pg_database"])
    if source == UNSEEN:
        saw["unseen"] = _number(page["wal_monitor"]["error_message"])
    for name in page["destinations"]:
        saw[name.split("/")[0]] = _number(name)
    for table in page["tables"]:
        if table["table_name"] == "fixed":
            saw["version"] = table["version"]
            saw["schema"] = int(table["schema_table"][0]["default_value"]) if table["schema_table"] else 0
        elif table["table_name"] == "moving":
            saw["moving"] = table["version"]
        elif table["table_name"] == "orders":
            note = next(column for column in table["schema_table"] if column["column_name"] == "note")
            saw["sync"] = int(note["default_value"].split("'")[1])
        else:
            saw["cascade"] = _number(table["table_name"])
    places = {
        f"{thing} at": sources.index(source) if thing in saw else 1 - sources.index(source)
        for thing, sources in MOVES.items()
        if source in sources
    }
    if source == TURNING:
        at = [place for place, kind in enumerate(TURNS) if kind in saw]
        # Both or neither was never so: that is no place.
        places["turned to"] = at[0] if len(at) == 1 else -1
    return saw, places


def _number(text: str) -> int:
    return int(text.split("/")[1])
