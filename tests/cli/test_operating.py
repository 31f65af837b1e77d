"""docs/by-hand.md and docs/runbooks.md: each of its commands is run, in its order, and answers what the page says.

`ROSETTA_WRITE_OPERATING=1` writes what they answer into the pages.
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from service.demo.servers import wheel_binaries
from tests import PROJECT
from tests.fixtures.databases import Databases, Sql, as_service, connect
from tests.fixtures.metadata import KEY, add_pipeline, add_source
from tests.fixtures.process import StartProcess

pytestmark = [
    pytest.mark.operations,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

# Each page in a deployment of its own.
PAGES = ["docs/by-hand.md", "docs/runbooks.md"]
_FEWEST = {"docs/by-hand.md": 40, "docs/runbooks.md": 12}
# A block of commands with their answers; before it perhaps what alone is the same wherever they run.
_BLOCK = re.compile(r"(?:<!-- holds: (?P<holds>[^\n]*) -->\n)?```console\n(?P<text>.*?)```", re.DOTALL)
# Where no redis-cli is installed: the same words to the same server, printed as it prints into a pipe.
_REDIS_CLI = """
import sys, redis
answer = redis.Redis.from_url(sys.argv[1]).execute_command(*sys.argv[2:])
if isinstance(answer, dict):
    answer = "\\n".join(f"{name}:{value}" for name, value in answer.items())
for line in answer if isinstance(answer, list) else [answer]:
    print({True: "PONG"}.get(line, line) if line is True else line.decode() if isinstance(line, bytes) else line)
"""


@pytest.fixture
def config_dsn(databases: Databases) -> str:
    """A config database of the name that the page uses."""
    return databases.migrated("rosetta_config")


@pytest.fixture
def shell(
    config_dsn: str, redis_url: str, tmp_path: Path, serve: StartProcess, published: Sql, shop_dsn: str
) -> dict[str, str]:
    """The variables of a shell in which the page's commands run: beside a service with one source that answers,
    and two with many tables.
    """
    assert published
    with connect(config_dsn) as config:
        add_pipeline(config, add_source(config, shop_dsn, name="shop"), "warehouse")
        config.execute("UPDATE pipelines SET status = 'START'")
        config.execute(
            """
            INSERT INTO sources (name, pg_host, pg_database, pg_username, publication_name, replication_name)
            SELECT 'other-' || n, '192.0.2.1', 'd', 'u', 'rosetta', 'rosetta' FROM generate_series(2, 3) AS n;
            INSERT INTO table_metadata_list (source_id, table_name, schema_table)
            SELECT s.id, 't' || n, '{}' FROM sources AS s, generate_series(1, 1000) AS n WHERE s.id > 1;
            INSERT INTO history_schema_evolution (table_metadata_list_id, version_schema, changes_type)
            SELECT t.id, n, 'NEW COLUMN' FROM table_metadata_list AS t, generate_series(1, 10) AS n;
            ANALYZE
            """
        )
    commands = tmp_path / "bin"
    commands.mkdir()
    rosetta = commands / "rosetta"
    rosetta.write_text(f'#!/bin/sh\nexec {sys.executable} -m service "$@"\n')
    redis_cli = commands / "redis-cli"
    real = shutil.which("redis-cli")
    (commands / "words.py").write_text(_REDIS_CLI)
    words = f'"{real}" -u {redis_url}' if real else f"{sys.executable} {commands / 'words.py'} {redis_url}"
    redis_cli.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    for command in (rosetta, redis_cli):
        command.chmod(0o755)
    place = conninfo_to_dict(config_dsn)
    process = serve()
    process.until_ready()
    paths = [str(commands), os.environ["PATH"], str(wheel_binaries(18))]
    return {
        "PATH": os.pathsep.join(paths),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "PGHOST": str(place["host"]),
        "PGPORT": str(place["port"]),
        "PGUSER": str(place["user"]),
        "PGPASSWORD": str(place["password"]),
        "ROSETTA_CONFIG_DSN": as_service(config_dsn),
        "ROSETTA_REDIS_URL": redis_url,
        "CREDENTIAL_ENCRYPTION_KEY": KEY,
        "url": process.url,
    }


def answer(command: str, shell: dict[str, str]) -> str:
    """The command as it was typed, and its output below."""
    ran = subprocess.run(
        ["bash", "-c", command.replace("bin/rosetta", "rosetta")],
        cwd=PROJECT, env=shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    text = "\n".join(line.rstrip() for line in ran.stdout.splitlines())
    return f"$ {command}\n{text}\n" if text else f"$ {command}\n"


def comparable(text: str) -> str:
    """Without what differs from run to run: figures, LSNs, the machine's name, the widths of columns, and whether
    somebody held a lock when a migration wanted it.
    """
    text = re.sub(r"^ *waiting for other programs' transactions\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b[0-9A-F]+/[0-9A-F]+\b", "0/0", text)
    text = re.sub(r"process \S+:\d+", "process host:0", text)
    text = re.sub(r"\d+(\.\d+)?", "0", text)
    return re.sub(r"[ -]+", " ", text)


@pytest.mark.parametrize("name", PAGES)
def test_every_command_answers_what_the_page_says(name: str, shell: dict[str, str]) -> None:
    """In one go, like an operator: later commands see what earlier ones did."""
    page = (PROJECT / name).read_text()
    run = 0
    differing: list[str] = []

    def rerun(block: re.Match[str]) -> str:
        nonlocal run
        commands = re.findall(r"^\$ (.+)$", block["text"], re.MULTILINE)
        run += len(commands)
        answers = "".join(answer(command, shell) for command in commands)
        if block["holds"]:
            if not re.search(block["holds"], answers):
                differing.append(answers)
        else:
            said, says = comparable(block["text"]).splitlines(), comparable(answers).splitlines()
            differing.extend(difflib.unified_diff(said, says, "the page", "now", lineterm="", n=0))
        return block[0].replace(block["text"], answers)

    rewritten = _BLOCK.sub(rerun, page)
    assert run >= _FEWEST[name]
    if os.environ.get("ROSETTA_WRITE_OPERATING"):
        (PROJECT / name).write_text(rewritten)
    else:
        assert not differing, "\n".join(differing)
