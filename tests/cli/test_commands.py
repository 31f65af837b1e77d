"""The console command: what people and programs get from it, and its exit codes."""

import json
import os
import pty
import re
import subprocess

import pytest

from service.config.credentials import decrypt
from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import KEY, add_source, add_table
from tests.fixtures.process import SERVICE, StartProcess

pytestmark = pytest.mark.operations

PASSWORD = "n3w-Passw0rd!"


@pytest.mark.usefixtures("config")
def test_a_source_is_added_tested_synced_shown_and_removed(rosetta: Command, published: Sql, config_dsn: str) -> None:
    """A new user without the platform starts from nothing; adding and removing needs the owner's rights."""
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
    assert "no slot; run: SELECT pg_create_logical_replication_slot('none', 'pgoutput')" in tested.stderr
    assert json.loads(tested.stdout)["published_tables"] == 1
    synced = rosetta("sync", source)
    assert (synced.returncode, synced.stdout) == (0, "shop: 1 added\n")
    assert rosetta("sync", "--all").stdout.startswith("shop: nothing changed\n1 synced, 0 of them changed, 0 failed; ")
    published.execute("CREATE TABLE more (id int)")
    assert json.loads(rosetta("sync", source, "--json").stdout)[0]["tables_added"] == ["more"]
    listed = rosetta("sources", "list")
    assert re.search(rf"^ *{source} +shop +warning +2 +- +20\d\d-", listed.stdout, re.M), listed.stdout
    (fact,) = json.loads(rosetta("sources", "list", "--json").stdout)
    assert (fact["name"], fact["tables"], fact["state"]) == ("shop", 2, "warning")
    assert json.loads(rosetta("sources", "show", source, "--json").stdout)["source"]["name"] == "shop"
    shown = rosetta("sources", "show", source).stdout
    assert re.search(r"^registered tables +2$", shown, re.M)
    assert re.search(r"^ *\d+ +orders +1 +2$", shown, re.M), shown
    assert json.loads(rosetta("evict", source, "--json").stdout) == {"evicted": source}
    kept = rosetta("sources", "remove", source)
    assert (kept.returncode, kept.stdout) == (1, "")
    refused = rosetta("sources", "remove", source, "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "rosetta sources remove: permission denied for table sources; "
        "set ROSETTA_CONFIG_DSN to a role that has this right\n"
    )
    removed = rosetta("sources", "remove", source, "--yes", "--json", **owner).stdout
    assert json.loads(removed) == {"id": source, "name": "shop"}
    assert json.loads(rosetta("sources", "list", "--json").stdout) == []


def test_reader_that_has_enough_is_no_failure_to_tell_of() -> None:
    """As `| head` does."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as pipe:
        ran = subprocess.run([*SERVICE, "token", "somebody"], stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_password_is_stored_as_the_platform_does(rosetta: Command, config: Sql, config_dsn: str) -> None:
    """Encrypted, read from standard input, and never shown."""
    arguments = ("sources", "add", "x", "--host", "h", "--database", "d", "--user", "u")
    assert rosetta(*arguments).returncode == 2
    owner = {"ROSETTA_CONFIG_DSN": config_dsn}
    added = rosetta(*arguments, "--password-stdin", stdin=f"{PASSWORD}\n", **owner)
    assert added.stdout == "source 1; next: rosetta sources test x\n"
    row = config.execute("SELECT pg_password FROM sources").fetchone()
    assert row is not None
    assert decrypt(KEY.encode(), row["pg_password"]) == PASSWORD
    assert PASSWORD not in added.stdout + added.stderr + str(row)
    again = rosetta(*arguments, "--password-stdin", stdin="\n", **owner)
    assert (again.returncode, again.stderr) == (1, "rosetta sources add: a source named x already exists\n")


@pytest.mark.usefixtures("published")
def test_sync_of_many_shows_a_bar_to_a_person(rosetta: Command, config: Sql, shop_dsn: str) -> None:
    """In a terminal; a failing source is reported and does not stop it; exit code 1."""
    add_source(config, shop_dsn, name="good")
    add_source(config, name="dead")
    ran = rosetta("sync", "--all")
    assert ran.returncode == 1
    assert ran.stdout.startswith("good: 1 added\ndead: the source database cannot be queried")
    assert ran.stderr == ""
    ours, theirs = pty.openpty()
    environment = os.environ | {
        "ROSETTA_CONFIG_DSN": config.info.dsn + f" password={config.info.password}",
        "CREDENTIAL_ENCRYPTION_KEY": KEY,
    }
    child = subprocess.run(
        [*SERVICE, "sync", "--all"],
        env=environment, stdout=subprocess.DEVNULL, stderr=theirs, timeout=60, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert child.returncode == 1
    assert "0/2" in shown
    assert "good" in shown
    assert "1/2" in shown
    assert "dead" in shown


def test_evict_reaches_every_process(rosetta: Command, serve: StartProcess, config: Sql) -> None:
    """By a notification, like any change."""
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
        assert rosetta("evict", *arguments).stdout == "every process was notified\n"
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
        r"Redis: [\d,]+ bytes as of 20[-+T:.\d]+, for \d+ s more; as the database says; "
        r"a publication of 1 tables is kept"
    )
    told = rosetta("explain", source)
    # The sync's own notification may still be on its way when the page is read, and evict it.
    while not held.search(told.stdout):
        assert told.returncode == 0, told.stderr
        process.client.get(f"/api/v1/sources/{source}/details")
        told = rosetta("explain", source)
    assert re.search(r"source database: answers in [\d.]+ ms", told.stdout)
    published.execute("CREATE TABLE more (id int)")
    assert (
        f"the source publishes 2 tables now; to record that: rosetta sync {source}" in rosetta("explain", source).stdout
    )
    dead = add_source(config)
    add_table(config, dead)
    config.execute(
        "INSERT INTO source_details_schedule (source_id, due_at, failing_since, last_error) "
        "VALUES (%s, now(), now(), 'it is away')",
        (dead,),
    )
    assert re.search(r"last failure: .* since 20[-+T:.\d]+ \(it is away\)", rosetta("explain", dead).stdout)
    (listed,) = (row for row in json.loads(rosetta("sources", "list", "--json").stdout) if row["id"] == dead)
    assert any(reason.startswith("its syncs fail: it is away (since 20") for reason in listed["reasons"])
    facts = json.loads(rosetta("explain", dead, "--json").stdout)
    assert "cannot be queried" in facts["source"]["error"]
    away = rosetta("explain", dead, ROSETTA_REDIS_URL="redis://127.0.0.1:1")
    assert "Redis: cannot be reached" in away.stdout


def test_token_is_printed_once_with_its_entry(rosetta: Command) -> None:
    """A program gets both; an invalid name is exit code 2."""
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
