"""The console command for a person: help, names, tables that fit a terminal, Ctrl-C, settings and `.env`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.commands import Command
from tests.fixtures.databases import Sql
from tests.fixtures.metadata import SECRET, add_source, add_table
from tests.fixtures.process import StartProcess
from tests.fixtures.terminal import Terminal

pytestmark = pytest.mark.operations

_PASSWORD_PROMPT = ("sources", "add", "shop", "--host", "h", "--database", "d", "--user", "u")


@pytest.mark.parametrize(
    "command",
    ["serve", "settings", "migrate", "sources", "sources list", "sources show", "sources test", "sources add",
     "sources remove", "sync", "changes", "activity", "find", "timeline", "notices", "evict", "explain", "check",
     "doctor", "token", "completion", "demo"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(rosetta: Command, command: str) -> None:
    """Within 80 columns, and without any setting."""
    told = rosetta(*command.split(), "--help", ROSETTA_CONFIG_DSN=None, CREDENTIAL_ENCRYPTION_KEY=None)
    assert told.returncode == 0, told.stderr
    assert f"rosetta {command}" in told.stdout
    assert "Example" in told.stdout or command == "sources"
    assert max(map(len, told.stdout.splitlines())) <= 80


def test_sources_are_called_by_name_or_id_everywhere(rosetta: Command, config: Sql) -> None:
    """An id wins over a name that looks like one; an unknown one is an error that helps, in every command."""
    first = add_source(config, name="shop")
    second = add_source(config, name=str(first))
    third = add_source(config, name="12345")
    assert json.loads(rosetta("evict", "shop", "--json").stdout) == {"evicted": first}
    assert json.loads(rosetta("evict", first, "--json").stdout) == {"evicted": first}
    assert json.loads(rosetta("evict", second, "--json").stdout) == {"evicted": second}
    assert json.loads(rosetta("evict", "12345", "--json").stdout) == {"evicted": third}
    for command in (
        "evict",
        "sync",
        "explain",
        "changes",
        "activity",
        "timeline",
        "sources show",
        "sources test",
        "sources remove",
    ):
        unknown = rosetta(*command.split(), "shopp")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert unknown.stderr == f"rosetta {command}: no source has the name or id 'shopp'; did you mean shop?\n"
        empty = rosetta(*command.split(), "")
        assert empty.returncode == 2
        assert "must not be empty" in empty.stderr
    far = rosetta("evict", "9" * 30)
    assert far.stderr.endswith("rosetta sources list shows all\n")
    nameless = rosetta("sources", "add", " ", "--host", "h", "--database", "d", "--user", "u", "--password-stdin")
    assert nameless.returncode == 2
    assert "NAME" in nameless.stderr


def test_key_is_asked_of_those_who_read_passwords_only(rosetta: Command, config: Sql) -> None:
    """Whoever lists, shows or evicts needs none."""
    add_source(config, name="shop", pg_password=None)
    for arguments in (("sources", "list"), ("sources", "show", "shop"), ("evict", "shop"), ("explain", "shop")):
        ran = rosetta(*arguments, CREDENTIAL_ENCRYPTION_KEY=None)
        assert ran.returncode == 0, ran.stderr
    ran = rosetta("sync", "shop", CREDENTIAL_ENCRYPTION_KEY=None)
    assert ran.stderr == "rosetta sync: CREDENTIAL_ENCRYPTION_KEY: is not set\n"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_list_fits_the_terminal(config: Sql, config_dsn: str, columns: int) -> None:
    """Long names go on below, the state is one word in colour; NO_COLOR has none."""
    add_source(config, name="a-source-with-a-name-that-is-longer-than-any-terminal-should-have-to-show-in-one-line")
    failing = add_source(config, name="failing")
    config.execute("INSERT INTO wal_monitor (source_id, error_message) VALUES (%s, 'slot is lost')", (failing,))
    terminal = Terminal(config_dsn, ("sources", "list"), columns)
    assert terminal.end() == 0
    assert "\x1b[31merror" in terminal.shown
    assert max(map(len, terminal.plain)) <= columns
    assert "ID" in terminal.plain[0]
    assert "LAST SYNC" in terminal.plain[0]
    quiet = Terminal(config_dsn, ("sources", "list"), columns, NO_COLOR="1")
    assert quiet.end() == 0
    assert "\x1b[31m" not in quiet.shown


def test_list_for_a_program_has_one_line_for_each_source(rosetta: Command, config: Sql) -> None:
    """However long it is; no colours."""
    add_source(config, name="x" * 200)
    listed = rosetta("sources", "list")
    assert len(listed.stdout.splitlines()) == 2
    assert "x" * 200 in listed.stdout
    assert "\x1b" not in listed.stdout


def test_list_is_searched_and_sorted_as_on_the_page(rosetta: Command, config: Sql) -> None:
    """The same words as in the API; what they do not know is named."""
    for name, tables in (("a", 1), ("b", 3), ("c", 2)):
        source = add_source(config, name=name, pg_host=f"{name}.example.com")
        for number in range(tables):
            add_table(config, source, f"t{number}")

    def names(*arguments: str) -> list[str]:
        return [fact["name"] for fact in json.loads(rosetta("sources", "list", "--json", *arguments).stdout)]

    assert names("--sort", "tables") == ["b", "c", "a"]
    assert names("--search", "B.EXAMPLE") == ["b"]
    assert names("--state", "error") == []
    wrong = rosetta("sources", "list", "--state", "broken")
    assert wrong.returncode == 2
    assert "'error', 'warning', 'unknown', 'ok'" in wrong.stderr


def test_interrupted_at_the_password_prompt(config_dsn: str) -> None:
    """One line, and 130 as a shell reports it."""
    terminal = Terminal(config_dsn, _PASSWORD_PROMPT)
    terminal.until("password of u")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert terminal.shown.strip().splitlines()[-1] == "rosetta sources: interrupted"


def test_interrupted_at_a_question(config: Sql, config_dsn: str) -> None:
    """Nothing is removed."""
    add_source(config, name="shop")
    terminal = Terminal(config_dsn, ("sources", "remove", "shop"))
    terminal.until("[y/N]")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert config.execute("SELECT name FROM sources").fetchall() == [{"name": "shop"}]


def test_settings_say_where_they_come_from(rosetta: Command, tmp_path: Path) -> None:
    """Secrets are hidden; a file `.env` in the current folder fills what the environment lacks."""
    (tmp_path / ".env").write_text(
        f"ROSETTA_PORT=9000\nROSETTA_HOST=10.0.0.1\nROSETTA_ACCESS_TOKENS=ci:read:{'0' * 64}\nOTHER=1\n"
        "ROSETTA_REDIS_URL='redis://:pa$$word${HOME}@h'\n"
    )
    shown = json.loads(
        rosetta("settings", "--json", cwd=tmp_path, ROSETTA_PORT="9001", ROSETTA_REDIS_URL=None, stdin="").stdout
    )
    facts = {fact["variable"]: fact for fact in shown}
    assert (facts["ROSETTA_PORT"]["value"], facts["ROSETTA_PORT"]["from"]) == ("9001", "environment")
    assert (facts["ROSETTA_HOST"]["value"], facts["ROSETTA_HOST"]["from"]) == ("10.0.0.1", str(tmp_path / ".env"))
    assert (facts["ROSETTA_CACHE_TTL_S"]["value"], facts["ROSETTA_CACHE_TTL_S"]["from"]) == ("30", "default")
    for secret in ("ROSETTA_CONFIG_DSN", "ROSETTA_REDIS_URL", "ROSETTA_ACCESS_TOKENS", "CREDENTIAL_ENCRYPTION_KEY"):
        assert facts[secret]["value"] == "********"
    changed = rosetta("settings", "--changed", cwd=tmp_path)
    assert "ROSETTA_CACHE_TTL_S" not in changed.stdout
    assert changed.returncode == 0, changed.stderr
    broken = rosetta("settings", "--changed", ROSETTA_PORT="x")
    assert broken.returncode == 1
    assert "the service would not start: ROSETTA_PORT" in broken.stderr
    assert SECRET not in changed.stdout


def test_options_of_serve_stand_beside_their_variables(rosetta: Command) -> None:
    """An option wins; a port in use is named."""
    told = rosetta("serve", "--help")
    assert "ROSETTA_HOST" in told.stdout
    assert "ROSETTA_PORT" in told.stdout
    refused = rosetta("serve", "--host", "0.0.0.0", ROSETTA_PORT="0")  # noqa: S104  # it is refused
    assert refused.returncode == 1
    assert "ROSETTA_HOST: other hosts can reach 0.0.0.0" in refused.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(rosetta: Command, shell: str) -> None:
    """The script calls rosetta itself for what may follow."""
    assert "_ROSETTA_COMPLETE" in rosetta("completion", shell).stdout
    words = rosetta(_ROSETTA_COMPLETE="bash_complete", COMP_WORDS="rosetta so", COMP_CWORD="1").stdout
    assert words == "plain,sources\n"


def test_explain_compares_the_process_redis_and_the_database(
    rosetta: Command, serve: StartProcess, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """The page that a process keeps, the last evictions with their causes, and what comes next."""
    assert published
    source = add_source(config, shop_dsn, name="shop")
    process = serve()
    process.until_ready()
    process.client.post(f"/api/v1/sources/{source}/refresh").raise_for_status()
    path = f"/api/v1/sources/{source}/details"
    facts = json.loads(rosetta("explain", "shop", "--url", process.url, "--json").stdout)
    while not facts["process"]["page"]:
        process.client.get(path)
        facts = json.loads(rosetta("explain", "shop", "--url", process.url, "--json").stdout)
    assert facts["process"]["page"]["differs"] == facts["redis"]["page"]["differs"] == []
    assert facts["evictions"][-1]["cause"] in ("reconnect", "notification")
    assert any(each["cause"] == "sync" for each in facts["evictions"])
    assert facts["next"][0].startswith("the next reader gets the page of this process")
    told = rosetta("explain", "shop", "--url", process.url)
    assert re.search(r"process \S+:\d+: [\d,]+ bytes as of .* more; as the database says", told.stdout)
    assert "last evictions of this process:" in told.stdout
    away = rosetta("explain", "shop", "--url", "http://127.0.0.1:1")
    assert away.returncode == 0
    assert "http://127.0.0.1:1 does not answer" in away.stdout
    assert "as the database says" in away.stdout


def test_explain_finds_a_page_that_is_old(
    rosetta: Command, serve: StartProcess, config: Sql, published: Sql, shop_dsn: str
) -> None:
    """Nobody was told of a change: which part is old, and what to do."""
    assert published
    source = add_source(config, shop_dsn, name="shop")
    process = serve(ROSETTA_CACHE_TTL_S="3600")
    process.until_ready()
    # This evicts; what follows it does not.
    config.execute("ALTER TABLE sources DISABLE TRIGGER ALL")
    facts: dict[str, Any] = {"process": {"page": None}}
    while not facts["process"]["page"]:
        process.client.get(f"/api/v1/sources/{source}/details")
        facts = json.loads(rosetta("explain", "shop", "--url", process.url, "--json").stdout)
    config.execute("UPDATE sources SET updated_at = now(), publication_name = 'nobody was told'")
    told = rosetta("explain", source, "--url", process.url)
    assert "older than the database in source" in told.stdout
    assert f"an older page is kept: its eviction is on its way, or was lost; rosetta evict {source}" in told.stdout
