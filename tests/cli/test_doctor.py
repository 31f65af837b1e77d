"""`rosetta doctor`: what is broken or degraded, each with its remedy."""

import json
import re
from urllib.parse import urlsplit

import pytest
import redis as sync_redis

from service.database.queries import query
from tests import PROJECT
from tests.cache.test_rights import RIGHTS
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql, with_database
from tests.fixtures.metadata import add_source

pytestmark = pytest.mark.operations


def test_doctor_finds_nothing_where_all_is_well(rosetta: Command, config: Sql, shop_dsn: str) -> None:
    """Exit code 0, every line fine."""
    add_source(config, shop_dsn)
    ran = rosetta("doctor", "--sources", "--json")
    findings = json.loads(ran.stdout)
    assert ran.returncode == 0, ran.stdout
    assert {finding["state"] for finding in findings} == {"fine"}
    assert {finding["subject"] for finding in findings} >= {
        "settings", "migrations", "config database", "triggers", "event trigger", "view", "rights and indexes",
        "listener", "Redis", "source passwords", "source 1 (source-1)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "changes", "says", "remedy"),
    [
        (
            "",
            {"CREDENTIAL_ENCRYPTION_KEY": None},
            "CREDENTIAL_ENCRYPTION_KEY: is not set",
            "rosetta settings shows every setting",
        ),
        (
            "",
            {"ROSETTA_CONFIG_DSN": "postgresql://127.0.0.1:1/x"},
            "cannot reach the config database",
            "who may connect",
        ),
        ("DELETE FROM source_details_migrations WHERE name ~ '^010'", {}, "missing: 010", "rosetta migrate$"),
        (
            "ALTER TABLE sources DISABLE TRIGGER USER",
            {},
            "of 40 are missing or not ENABLE ALWAYS",
            "rosetta migrate --repair",
        ),
        (
            "DROP INDEX idx_history_schema_evolution_table_version_composite",
            {},
            "is missing",
            "rosetta migrate --repair",
        ),
        ("DROP TABLE source_details_lag", {}, "source_details_lag does not exist", "rosetta migrate --repair"),
        (
            "REVOKE INSERT ON table_metadata_list FROM rosetta_service",
            {},
            "INSERT ON table_metadata_list is missing",
            "roles.sql",
        ),
        ("UPDATE sources SET pg_password = 'AAAA'", {}, "cannot be decrypted: source-1", "must be the platform's"),
        ("UPDATE sources SET pg_port = 1", {}, "the source database cannot be queried", "rosetta sources test 1"),
    ],
)
def test_doctor_names_what_is_broken_with_its_remedy(
    rosetta: Command, config: Sql, shop_dsn: str, broken: str, changes: dict[str, str | None], says: str, remedy: str
) -> None:
    """Exit code 1."""
    add_source(config, shop_dsn)
    if broken:
        config.execute(broken.encode())
    ran = rosetta("doctor", "--sources", **changes)
    assert ran.returncode == 1, ran.stdout
    assert re.search(rf"^FAIL  .*{says}.*\n      .*{remedy}", ran.stdout, re.M), ran.stdout


def test_doctor_finds_every_right_and_index_that_is_missing(config: Sql) -> None:
    """Everything that roles.sql grants and the migrations make, one after the other, seen by the service's role."""
    grants = config.execute(
        """
        SELECT format('%s ON %I', g.privilege_type, g.table_name) AS what
        FROM information_schema.role_table_grants AS g
        WHERE g.grantee = 'rosetta_service' AND g.table_name <> 'source_details_migrations'
        UNION ALL
        SELECT format('%s (%I) ON %I', g.privilege_type, g.column_name, g.table_name)
        FROM information_schema.column_privileges AS g
        WHERE
            g.grantee = 'rosetta_service'
            AND (
                g.table_name = 'destinations'
                OR (g.table_name = 'sources' AND g.privilege_type = 'UPDATE')
                OR (g.table_name, g.column_name, g.privilege_type) = ('history_schema_evolution', 'at_source', 'UPDATE')
            )
        UNION ALL
        SELECT format('EXECUTE ON FUNCTION %s', p.oid::regprocedure)
        FROM pg_proc AS p
        CROSS JOIN aclexplode(p.proacl) AS a
        WHERE a.grantee = 'rosetta_service'::regrole
        UNION ALL
        SELECT format('USAGE ON SEQUENCE %I', s.relname)
        FROM pg_class AS s
        CROSS JOIN aclexplode(s.relacl) AS a
        WHERE s.relkind = 'S' AND a.grantee = 'rosetta_service'::regrole
        """
    ).fetchall()
    assert len(grants) > 35
    made = "\n".join(path.read_text() for path in (PROJECT / "migrations").glob("*.sql"))
    indexes = set(re.findall(r"^ *CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+)", made, re.M))
    assert len(indexes) == 14
    broken = [(f"REVOKE {grant['what']} FROM rosetta_service", grant["what"]) for grant in grants]
    broken += [(f"DROP INDEX {index}", index) for index in indexes]
    for statement, what in broken:
        with config.transaction(force_rollback=True):
            config.execute(statement.encode())
            config.execute("SET LOCAL ROLE rosetta_service")
            found = config.execute(query("lacking"), {}).fetchall()
        assert [row["what"] for row in found] == [what]


def test_doctor_does_with_redis_what_the_service_does(
    rosetta: Command, redis_url: str, redis: sync_redis.Redis
) -> None:
    """The rights in docs/redis.md are enough; it reports one that is missing."""
    place = urlsplit(redis_url)
    url = f"redis://rosetta-doctor:secret@{place.hostname}:{place.port}/0"
    try:
        for rights, says in (
            (RIGHTS, "ok    Redis: accepts what is needed"),
            (RIGHTS.replace("+@write", ""), "warn  Redis: refuses what the service needs"),
            (f"{RIGHTS} -client|tracking", "warn  Redis tracking: CLIENT TRACKING is refused"),
        ):
            redis.execute_command(  # type: ignore[no-untyped-call]  # redis-py leaves it bare
                "ACL SETUSER", "rosetta-doctor", "reset", "on", ">secret", *rights.split()
            )
            ran = rosetta("doctor", ROSETTA_REDIS_URL=url)
            assert ran.returncode == 0, ran.stdout
            assert says in ran.stdout
            assert "secret" not in ran.stdout
    finally:
        redis.acl_deluser("rosetta-doctor")
    assert redis.keys("*source_details:0*") == []


def test_doctor_tells_what_is_merely_degraded(rosetta: Command, config: Sql) -> None:
    """The service works without Redis and without the event trigger."""
    config.execute("DROP EVENT TRIGGER source_details_refreshed")
    ran = rosetta("doctor", ROSETTA_REDIS_URL="redis://127.0.0.1:1")
    assert ran.returncode == 0, ran.stdout
    assert "warn  event trigger: missing" in ran.stdout
    assert "warn  Redis: is not used" in ran.stdout


def test_doctor_finds_a_listener_in_another_database(rosetta: Command, config_dsn: str) -> None:
    """A notification does not arrive there."""
    other = with_database(config_dsn, "postgres")
    ran = rosetta("doctor", ROSETTA_LISTENER_DSN=other)
    assert ran.returncode == 1
    assert "FAIL  listener: notifications do not arrive" in ran.stdout
