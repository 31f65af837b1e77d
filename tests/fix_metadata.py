"""What other programs put into the config database: sources, tables, pipelines."""

from collections.abc import Callable
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from service.config.credentials import encrypt
from tests.fix_databases import Sql

KEY = "0123456789abcdef0123456789abcdef"
# With KEY, the platform's own example of an encrypted password.
SECRET = "S3cret-Passw0rd!"
ENCRYPTED_SECRET = "AAECAwQFBgcICQoLftbYDrxs//zJrwLJQb21JU8csIQcGP/a1Xdf7AkUGaQ="


def add_source(config: Sql, dsn: str | None = None, **columns: Any) -> int:
    """A source in the config database; one that leads to `dsn`, or one that nobody answers for."""
    place = conninfo_to_dict(dsn) if dsn else {"host": "127.0.0.1", "port": 1, "dbname": "shop", "user": "nobody"}
    password = place.get("password")
    values = {
        "name": f"source-{config.execute('SELECT count(*) AS n FROM sources').fetchall()[0]['n'] + 1}",
        "pg_host": place["host"],
        "pg_port": int(str(place.get("port", 5432))),
        "pg_database": place["dbname"],
        "pg_username": place["user"],
        "pg_password": encrypt(KEY.encode(), str(password)) if password else None,
        "publication_name": "rosetta",
        "replication_name": "rosetta_slot",
    } | columns
    names = ", ".join(values)
    marks = ", ".join(f"%({name})s" for name in values)
    row = config.execute(f"INSERT INTO sources ({names}) VALUES ({marks}) RETURNING id", values).fetchone()
    assert row is not None
    return int(row["id"])


def add_table(config: Sql, source_id: int, name: str | None = "orders", columns: int = 3) -> int:
    """A registered table of `columns` bigint columns."""
    row = config.execute(
        """
        INSERT INTO table_metadata_list (source_id, table_name, schema_table)
        SELECT %s, %s, jsonb_object_agg('column_' || n, jsonb_build_object(
            'column_name', 'column_' || n, 'is_nullable', 'YES', 'numeric_precision', 64, 'numeric_scale', 0,
            'real_data_type', 'BIGINT', 'is_primary_key', n = 1, 'has_default', false, 'default_value', NULL))
        FROM generate_series(1, %s) AS n
        RETURNING id
        """,
        (source_id, name, columns),
    ).fetchone()
    assert row is not None
    return int(row["id"])


def count_computations(config: Sql) -> Callable[[], int]:
    """Makes the database itself count how often a page is computed; returns what reads the count."""
    config.execute("CREATE SEQUENCE computations")
    config.execute("GRANT USAGE ON SEQUENCE computations TO PUBLIC")
    row = config.execute("SELECT pg_get_viewdef('source_details_sources') AS definition").fetchone()
    assert row is not None
    definition = row["definition"].rstrip().rstrip(";")
    config.execute(
        f"CREATE OR REPLACE VIEW source_details_sources AS {definition} WHERE nextval('computations') IS NOT NULL"
    )

    def count() -> int:
        row = config.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS n FROM computations").fetchone()
        assert row is not None
        return int(row["n"])

    return count


def add_pipeline(config: Sql, source_id: int, *destinations: str) -> None:
    """A pipeline from the source to these destinations, which are made where they are missing."""
    row = config.execute(
        "INSERT INTO pipelines (name, source_id) SELECT 'p' || count(*), %s FROM pipelines RETURNING id", (source_id,)
    ).fetchone()
    assert row is not None
    for name in destinations:
        config.execute("INSERT INTO destinations (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
        config.execute(
            "INSERT INTO pipelines_destination (pipeline_id, destination_id) "
            "SELECT %s, id FROM destinations WHERE name = %s",
            (row["id"], name),
        )
