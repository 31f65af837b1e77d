"""The demo's other source: a catalog of three tables, one of which changes now and then."""

import psycopg

DATABASE = "catalog"
PUBLICATION = "catalog"
SLOT = "catalog_slot"

_CREATE = """
    CREATE TABLE suppliers (id bigint PRIMARY KEY, name varchar(100) NOT NULL, country char(2));
    CREATE TABLE offers (
        id bigint PRIMARY KEY,
        supplier_id bigint NOT NULL REFERENCES suppliers (id),
        title varchar(100) NOT NULL,
        price numeric(12, 2) NOT NULL,
        valid_until date
    );
    CREATE TABLE offer_prices (
        offer_id bigint REFERENCES offers (id),
        valid_from timestamptz,
        price numeric(12, 2) NOT NULL,
        PRIMARY KEY (offer_id, valid_from)
    );
    CREATE PUBLICATION catalog FOR TABLE suppliers, offers, offer_prices
"""
# Each makes the next one possible, in a circle.
_CHANGES = (
    "ALTER TABLE offers ADD COLUMN badge text",
    "ALTER TABLE offers ALTER COLUMN title TYPE varchar(300)",
    "ALTER TABLE offers DROP COLUMN badge",
    "ALTER TABLE offers ALTER COLUMN title TYPE varchar(100)",
)
_STATE = """
    SELECT
        EXISTS (SELECT FROM pg_attribute WHERE attrelid = a.attrelid AND attname = 'badge' AND NOT attisdropped),
        format_type(a.atttypid, a.atttypmod) LIKE '%(300)'
    FROM pg_attribute AS a
    WHERE a.attrelid = 'offers'::regclass AND a.attname = 'title'
"""


def create(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Creates the tables, the publication and the slot if they are missing."""
    if connection.execute("SELECT FROM pg_publication").fetchone() is None:
        connection.execute(_CREATE)
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (SLOT,))


def next_change(connection: "psycopg.Connection[tuple[object, ...]]") -> str:
    """The change that comes next, by what the table is like now."""
    has_badge, is_wide = connection.execute(_STATE).fetchone() or (False, False)
    return _CHANGES[
        {(False, False): 0, (True, False): 1, (True, True): 2, (False, True): 3}[bool(has_badge), bool(is_wide)]
    ]
