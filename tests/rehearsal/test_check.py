"""`rosetta check`: a migration is rehearsed on a copy, and what it would break is said before it does."""

import json
from pathlib import Path

import pytest

from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import add_pipeline, add_source
from tests.fixtures.runtime import Service

pytestmark = [pytest.mark.operations, pytest.mark.timeout(240)]

SHOP = """
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('fine', 'bad');
CREATE TYPE other."Odd.Type" AS (a int);
CREATE DOMAIN email AS varchar(100) CHECK (value LIKE '%@%');
CREATE FUNCTION made_up() RETURNS text LANGUAGE sql AS $$SELECT 'x'$$;
CREATE TABLE orders (
    id bigserial PRIMARY KEY, number int NOT NULL GENERATED ALWAYS AS IDENTITY, customer email NOT NULL,
    total numeric(10,2) DEFAULT 0, moods mood[], odd other."Odd.Type", hidden text, word text DEFAULT made_up(),
    twice int GENERATED ALWAYS AS (2 * number) STORED, at timestamptz(3) DEFAULT now()
);
CREATE TABLE lines ("order" bigint, place int, note varchar(20), PRIMARY KEY (place, "order"));
CREATE TABLE other."Kept.Things" (id uuid UNIQUE NOT NULL, v text);
ALTER TABLE other."Kept.Things" REPLICA IDENTITY USING INDEX "Kept.Things_id_key";
CREATE TABLE whole (v text);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE PUBLICATION rosetta FOR TABLE
    orders (id, number, customer, total, moods, odd, word, at), lines WHERE (place > 0), other."Kept.Things", whole;
"""


async def test_migration_is_judged_on_a_copy(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, rosetta: Command, tmp_path: Path
) -> None:
    """With every kind of column, key and filter; nothing changes for a migration of something else."""
    if shop.info.server_version < 150000:
        pytest.skip("no column lists and row filters")
    shop.execute(SHOP)
    source = add_source(config, shop_dsn, name="shop")
    add_pipeline(config, source, "lake")
    config.execute("UPDATE pipelines SET status = 'START'")
    await service.sync(source)
    migration = tmp_path / "42.sql"

    migration.write_text("CREATE TABLE else_where (id int); CREATE INDEX CONCURRENTLY ON lines (note);")
    nothing = rosetta("check", migration, "--source", "shop")
    assert (nothing.returncode, nothing.stdout) == (0, "nothing of what shop publishes changes\n"), nothing.stderr
    assert nothing.stderr.splitlines() == [
        "note: type email stands for character varying(100) here",
        "note: type mood stands for text here",
        'note: type other."Odd.Type" stands for text here',
        "note: the default of orders.word is left out: made_up() (function made_up() does not exist)",
    ]

    migration.write_text(
        """
        BEGIN;
        ALTER TABLE orders RENAME COLUMN customer TO email;
        ALTER TABLE lines ALTER COLUMN note TYPE varchar(40);
        ALTER TABLE lines ADD COLUMN extra int;
        ALTER TABLE other."Kept.Things" RENAME TO kept;
        DROP TABLE whole;
        COMMIT;
        """
    )
    breaking = rosetta("check", migration, "--source", "shop", "--json")
    assert breaking.returncode == 1, breaking.stderr
    assert breaking.stdout, breaking.stderr
    told = json.loads(breaking.stdout)
    assert told["verdict"] == "breaking"
    assert told["pipelines"] == [{"name": "p0", "destinations": ["lake"]}]
    assert {table["table_name"]: (table["verdict"], table["says"]) for table in told["tables"]} == {
        "orders": ("breaking", ["customer is called email now (programs that read it by its old name)"]),
        "lines": (
            "compatible", ["extra is added", "note changes from character varying(20) to character varying(40)"],
        ),
        'other."Kept.Things"': (
            "breaking", ['other."Kept.Things" is called other.kept now (programs that read it by its old name)'],
        ),
        "whole": ("breaking", ["whole is no longer published (programs that read it)"]),
    }  # fmt: skip

    # What PostgreSQL itself forbids to a column of a publication's list shows here first.
    migration.write_text("ALTER TABLE orders ALTER COLUMN total TYPE numeric(8,2)")
    assert "fails on the copy: cannot alter type of a column" in rosetta("check", migration, "--source", "shop").stderr
    migration.write_text("ALTER TABLE lines ADD COLUMN extra int;\nALTER TABLE missing ADD COLUMN x int;")
    failing = rosetta("check", migration, "--source", "shop")
    assert (failing.returncode, failing.stdout) == (3, "")
    assert 'fails on the copy: relation "missing" does not exist' in failing.stderr
    migration.write_text("SELECT 1;\nALTER TABLE lines ADD COLUMN;")
    assert "fails on the copy: line 2: syntax error" in rosetta("check", migration, "--source", "shop").stderr


async def test_migration_and_source_have_no_right_outside_the_copy(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, rosetta: Command, tmp_path: Path
) -> None:
    """Both are texts of others: no program runs and no file is read. A publication of all tables gets new ones."""
    shop.execute("CREATE TABLE orders (id int PRIMARY KEY); CREATE PUBLICATION rosetta FOR ALL TABLES")
    source = add_source(config, shop_dsn, name="shop")
    await service.sync(source)
    migration = tmp_path / "42.sql"
    for harm in (
        f"COPY orders FROM PROGRAM 'touch {tmp_path}/harm'",
        "SELECT pg_read_file('/etc/passwd')",
        "CREATE ROLE other SUPERUSER",
        "ALTER SYSTEM SET archive_command = 'true'",
    ):
        migration.write_text(harm)
        refused = rosetta("check", migration, "--source", "shop")
        assert refused.returncode == 3
        assert "permission denied" in refused.stderr or "must be" in refused.stderr, refused.stderr
    assert not (tmp_path / "harm").exists()
    config.execute(
        "UPDATE table_metadata_list SET at_source = jsonb_set(at_source, '{columns,0,data_type}', %s), "
        "schema_table = schema_table",
        (json.dumps(f"int); COPY orders FROM PROGRAM 'touch {tmp_path}/harm'; CREATE TABLE x (id int"),),
    )
    config.execute("UPDATE table_metadata_list SET at_source = at_source || jsonb_build_object('of', 'other')")
    migration.write_text("CREATE TABLE added (id int PRIMARY KEY)")
    sly = rosetta("check", migration, "--source", "shop")
    assert not (tmp_path / "harm").exists()
    assert "not judged: orders is left out: it cannot be made here (syntax error" in sly.stderr
    assert (sly.returncode, sly.stdout) == (3, "added: compatible\n  added is published\n")


def test_what_is_missing_is_told(config: Sql, rosetta: Command, tmp_path: Path) -> None:
    """A file, a source, a sync; and what no sync has seen is left out."""
    source = add_source(config, name="shop")
    migration = tmp_path / "42.sql"
    assert rosetta("check", migration, "--source", "shop").returncode == 2
    migration.write_bytes(b"\xff\xfe")
    assert "rosetta sync shop" in rosetta("check", migration, "--source", "shop").stderr
    config.execute(
        "INSERT INTO table_metadata_list (source_id, table_name, schema_table) VALUES (%s, 'old', '{}')", (source,)
    )
    assert "it is not UTF-8" in rosetta("check", migration, "--source", "shop").stderr
    migration.write_text("SELECT 1")
    left_out = rosetta("check", migration, "--source", "shop")
    assert (left_out.returncode, left_out.stderr) == (3, "not judged: old is left out: no sync has seen it\n")


@pytest.mark.parametrize(
    ("migration", "says"),
    [
        ("ALTER TABLE orders DROP CONSTRAINT IF EXISTS pk_orders", "not judged: skipped on the copy: constraint"),
        ("DROP TABLE IF EXISTS old", 'not judged: skipped on the copy: table "old" does not exist, skipping'),
        ("SELECT 1\0; ALTER TABLE orders DROP COLUMN v", "zero byte"),
        ("ALTER TABLE orders DROP COLUMN id; ROLLBACK", "not judged: it has a ROLLBACK"),
        ("ALTER ROLE rehearsal PASSWORD 'other'", "the copy cannot be read after it"),
    ],
)
async def test_what_the_copy_cannot_know_is_not_judged(
    service: Service, config: Sql, shop: Sql, shop_dsn: str, rosetta: Command, tmp_path: Path, migration: str, says: str
) -> None:
    """A wrong verdict is worse than none. The exit code is that of neither verdict."""
    shop.execute("CREATE TABLE orders (id int, v text, CONSTRAINT pk_orders PRIMARY KEY (id))")
    shop.execute("CREATE PUBLICATION rosetta FOR TABLE orders")
    await service.sync(add_source(config, shop_dsn, name="shop"))
    file = tmp_path / "42.sql"
    file.write_text(migration)
    told = rosetta("check", file, "--source", "shop")
    assert told.returncode == 3, told.stdout + told.stderr
    assert says in told.stderr


async def test_what_is_made_concurrently_beside_a_transaction_is_made_once(
    service: Service, config: Sql, published: Sql, shop_dsn: str, rosetta: Command, tmp_path: Path
) -> None:
    """A file may commit first, and then make an index that no transaction may make."""
    assert published
    await service.sync(add_source(config, shop_dsn, name="shop"))
    file = tmp_path / "42.sql"
    file.write_text("BEGIN; ALTER TABLE orders ADD COLUMN x int; COMMIT; CREATE INDEX CONCURRENTLY ON orders (x);")
    told = rosetta("check", file, "--source", "shop")
    assert (told.returncode, told.stdout) == (0, "orders: compatible\n  x is added\n"), told.stderr
