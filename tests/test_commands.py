"""The console command: what people and programs get from it, and its exit codes."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as sync_redis

from service.credentials import decrypt
from service.queries import query
from tests.fix_databases import Sql, as_service, with_database
from tests.fix_metadata import KEY, add_source, add_table
from tests.fix_process import StartProcess
from tests.fix_secrets import Walker
from tests.fix_servers import Servers
from tests.test_cache_session import RIGHTS

pytestmark = pytest.mark.operations

Ran = subprocess.CompletedProcess[str]
Command = Callable[..., Ran]
PASSWORD = "n3w-Passw0rd!"
PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def rosetta(servers: Servers, config_dsn: str, redis_url: str, no_leaks: Walker) -> Command:
    """Runs `rosetta` with arguments; `stdin` and other variables by keyword, None leaves one out."""
    assert servers

    def run(*arguments: object, stdin: str = "", **changes: str | None) -> Ran:
        variables: dict[str, str | None] = {
            "ROSETTA_CONFIG_DSN": as_service(config_dsn),
            "ROSETTA_REDIS_URL": redis_url,
            "CREDENTIAL_ENCRYPTION_KEY": KEY,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ROSETTA_")}
        environment = kept | {name: value for name, value in (variables | changes).items() if value is not None}
        ran = subprocess.run(
            [sys.executable, "-m", "service.cli", *map(str, arguments)],
            env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        no_leaks.look("commands", ran.stdout + ran.stderr)
        return ran

    return run


@pytest.mark.usefixtures("config")
def test_a_source_is_added_tested_synced_shown_and_removed(rosetta: Command, published: Sql, config_dsn: str) -> None:
    """What a new user without the platform does, from nothing; to add and remove takes the owner's rights."""
    owner = {"ROSETTA_CONFIG_DSN": config_dsn}
    place = published.info
    added = rosetta(
        "sources", "add", "shop", "--host", place.host, "--port", place.port, "--database", place.dbname,
        "--user", place.user, "--slot", "none", "--password-stdin", "--json", stdin=f"{place.password}\n", **owner,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    source = json.loads(added.stdout)["id"]
    tested = rosetta("sources", "test", source, "--json")
    assert tested.returncode == 1
    assert "there is no slot: SELECT pg_create_logical_replication_slot('none', 'pgoutput')" in tested.stderr
    assert json.loads(tested.stdout)["published_tables"] == 1
    synced = rosetta("sync", source)
    assert (synced.returncode, synced.stdout) == (0, "shop: 1 added\n")
    assert rosetta("sync", "--all").stdout == "shop: nothing changed\n"
    published.execute("CREATE TABLE more (id int)")
    assert json.loads(rosetta("sync", source, "--json").stdout)[0]["tables_added"] == ["more"]
    listed = rosetta("sources", "list")
    assert re.search(rf"^{source} +shop +\S+:\d+/\S+ +warning .* 2 +- +20\d\d-", listed.stdout, re.M), listed.stdout
    (fact,) = json.loads(rosetta("sources", "list", "--json").stdout)
    assert (fact["name"], fact["tables"], fact["health"]) == ("shop", 2, "warning")
    assert json.loads(rosetta("sources", "show", source, "--json").stdout)["source"]["name"] == "shop"
    shown = rosetta("sources", "show", source).stdout
    assert re.search(r"^registered tables +2$", shown, re.M)
    assert re.search(r"^\d+ +orders +1 +2$", shown, re.M), shown
    assert json.loads(rosetta("evict", source, "--json").stdout) == {"evicted": source}
    kept = rosetta("sources", "remove", source)
    assert (kept.returncode, kept.stdout) == (1, "")
    refused = rosetta("sources", "remove", source, "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "rosetta sources remove: permission denied for table sources; give ROSETTA_CONFIG_DSN a role that may\n"
    )
    removed = rosetta("sources", "remove", source, "--yes", "--json", **owner).stdout
    assert json.loads(removed) == {"id": source, "name": "shop"}
    assert json.loads(rosetta("sources", "list", "--json").stdout) == []


def test_reader_that_has_enough_is_no_failure_to_tell_of() -> None:
    """As `| head` does."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as pipe:
        ran = subprocess.run(
            [sys.executable, "-m", "service.cli", "token", "somebody"], stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_password_is_stored_as_the_platform_does(rosetta: Command, config: Sql, config_dsn: str) -> None:
    """Encrypted, read from standard input, and never shown."""
    arguments = ("sources", "add", "x", "--host", "h", "--database", "d", "--user", "u")
    assert rosetta(*arguments).returncode == 2
    owner = {"ROSETTA_CONFIG_DSN": config_dsn}
    added = rosetta(*arguments, "--password-stdin", stdin=f"{PASSWORD}\n", **owner)
    assert added.stdout == "source 1; next: rosetta sources test 1\n"
    row = config.execute("SELECT pg_password FROM sources").fetchone()
    assert row is not None
    assert decrypt(KEY.encode(), row["pg_password"]) == PASSWORD
    assert PASSWORD not in added.stdout + added.stderr + str(row)
    again = rosetta(*arguments, "--password-stdin", stdin="\n", **owner)
    assert (again.returncode, again.stderr) == (1, "rosetta sources add: there is a source named x already\n")


@pytest.mark.usefixtures("published")
def test_sync_of_many_shows_a_bar_to_a_person(rosetta: Command, config: Sql, shop_dsn: str) -> None:
    """In a terminal; a failing source is told and does not end it; exit code 1."""
    add_source(config, shop_dsn, name="good")
    add_source(config, name="dead")
    ran = rosetta("sync", "--all")
    assert ran.returncode == 1
    assert ran.stdout.startswith("good: 1 added\ndead: the source database cannot be asked")
    assert ran.stderr == ""
    ours, theirs = pty.openpty()
    environment = os.environ | {
        "ROSETTA_CONFIG_DSN": config.info.dsn + f" password={config.info.password}",
        "CREDENTIAL_ENCRYPTION_KEY": KEY,
    }
    child = subprocess.run(
        [sys.executable, "-m", "service.cli", "sync", "--all"],
        env=environment, stdout=subprocess.DEVNULL, stderr=theirs, timeout=60, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert child.returncode == 1
    assert "[                              ] 0/2 good" in shown
    assert "[###############               ] 1/2 dead" in shown


def test_evict_reaches_every_process(rosetta: Command, serve: StartProcess, config: Sql) -> None:
    """By a notification, as any change."""
    source = add_source(config)
    processes = [serve(), serve()]
    for process in processes:
        process.until_ready()
    path = f"/api/v1/sources/{source}/details"
    for arguments in ((source,), ("--all",)):
        for process in processes:
            for _ in range(2):
                process.client.get(path)
            assert "hit" in process.client.get(path).headers["cache-status"]
        assert rosetta("evict", *arguments).stdout == "every process was told\n"
        while "hit" in processes[0].client.get(path).headers["cache-status"]:
            continue


def test_explain_says_why_a_page_is_as_it_is(
    rosetta: Command, serve: StartProcess, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """What Redis holds, whether the view covers it, what the source says, the last sync."""
    source = add_source(config, shop_dsn, name="shop")
    process = serve()
    process.until_ready()
    process.client.post(f"/api/v1/sources/{source}/refresh")
    held = re.compile(
        r"Redis: [\d,]+ bytes as of 20[-+T:.\d]+, for \d+ s more; a publication of 1 tables is remembered"
    )
    told = rosetta("explain", source)
    # The sync's own notification may still be on its way when the page is read, and evict it.
    while not held.search(told.stdout):
        assert told.returncode == 0, told.stderr
        process.client.get(f"/api/v1/sources/{source}/details")
        told = rosetta("explain", source)
    assert re.search(r"source database: answers in [\d.]+ ms", told.stdout)
    published.execute("CREATE TABLE more (id int)")
    assert f"the source publishes 2 tables now: `rosetta sync {source}`" in rosetta("explain", source).stdout
    dead = add_source(config)
    add_table(config, dead)
    config.execute(
        "INSERT INTO source_details_schedule (source_id, due_at, failing_since, last_error) "
        "VALUES (%s, now(), now(), 'it is away')",
        (dead,),
    )
    assert re.search(r"last failure: .* since 20[-+T:.\d]+ \(it is away\)", rosetta("explain", dead).stdout)
    (listed,) = (row for row in json.loads(rosetta("sources", "list", "--json").stdout) if row["id"] == dead)
    assert "its syncs fail: it is away" in listed["reasons"]
    facts = json.loads(rosetta("explain", dead, "--json").stdout)
    assert "cannot be asked" in facts["source"]["error"]
    away = rosetta("explain", dead, ROSETTA_REDIS_URL="redis://127.0.0.1:1")
    assert "Redis: cannot be reached" in away.stdout
    unknown = rosetta("explain", 999)
    assert (unknown.returncode, unknown.stderr) == (1, "rosetta explain: Source with id '999' not found\n")


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
        ("", {"CREDENTIAL_ENCRYPTION_KEY": None}, "CREDENTIAL_ENCRYPTION_KEY: is not set", "rosetta serve --help"),
        (
            "",
            {"ROSETTA_CONFIG_DSN": "postgresql://127.0.0.1:1/x"},
            "cannot reach the config database",
            "who may connect",
        ),
        ("DELETE FROM source_details_migrations WHERE name ~ '^010'", {}, "missing: 010", "rosetta migrate"),
        (
            "ALTER TABLE sources DISABLE TRIGGER USER",
            {},
            "of 32 are missing or not ENABLE ALWAYS",
            "010_source_details",
        ),
        ("DROP INDEX idx_history_schema_evolution_table_version_composite", {}, "is missing", "migrations/007"),
        ("DROP TABLE source_details_lag", {}, "source_details_lag does not exist", "migrations/013"),
        (
            "REVOKE INSERT ON table_metadata_list FROM rosetta_service",
            {},
            "INSERT ON table_metadata_list is missing",
            "roles.sql",
        ),
        ("UPDATE sources SET pg_password = 'AAAA'", {}, "cannot be decrypted: source-1", "has to be the platform's"),
        ("UPDATE sources SET pg_port = 1", {}, "the source database cannot be asked", "rosetta sources test 1"),
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
    """What roles.sql grants and what the migrations make, one after the other; as the service's role sees it."""
    grants = config.execute(
        """
        SELECT format('%s ON %I', g.privilege_type, g.table_name) AS what
        FROM information_schema.role_table_grants AS g
        WHERE g.grantee = 'rosetta_service' AND g.table_name <> 'source_details_migrations'
        UNION ALL
        SELECT format('%s (%I) ON %I', g.privilege_type, g.column_name, g.table_name)
        FROM information_schema.column_privileges AS g
        WHERE g.grantee = 'rosetta_service' AND g.table_name = 'sources' AND g.privilege_type = 'UPDATE'
        UNION ALL
        SELECT format('USAGE ON SEQUENCE %I', s.relname)
        FROM pg_class AS s
        CROSS JOIN aclexplode(s.relacl) AS a
        WHERE s.relkind = 'S' AND a.grantee = 'rosetta_service'::regrole
        """
    ).fetchall()
    assert len(grants) > 35
    made = "\n".join(path.read_text() for path in (PROJECT / "migrations").glob("*.sql"))
    indexes = set(re.findall(r"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?IF NOT EXISTS (\w+)", made))
    assert len(indexes) == 8
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
    """The rights of the README are enough; with one less it says so."""
    place = urlsplit(redis_url)
    url = f"redis://rosetta-doctor:secret@{place.hostname}:{place.port}/0"
    try:
        for rights, says in (
            (RIGHTS, "ok    Redis: does what is needed"),
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
    """Without Redis, and without the event trigger, the service does its work."""
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
    assert "FAIL  listener: a notification does not arrive" in ran.stdout


def test_token_is_printed_once_with_its_entry(rosetta: Command) -> None:
    """A program gets both; a wrong name is 2."""
    made = json.loads(rosetta("token", "ci", "--scope", "operate", "--json").stdout)
    assert made["token"].startswith("rosetta_")
    assert re.fullmatch(r"ci:operate:[0-9a-f]{64}", made["entry"])
    assert made["token"] not in made["entry"]
    assert rosetta("token", "a,b").returncode == 2


@pytest.mark.parametrize("arguments", [("sync",), ("sync", "1", "--all"), ("sources",), ("evict",), ("nonsense",)])
def test_wrong_arguments_are_exit_code_2(rosetta: Command, arguments: tuple[str, ...]) -> None:
    """With a line that says what is wrong."""
    ran = rosetta(*arguments)
    assert ran.returncode == 2
    assert "error:" in ran.stderr
