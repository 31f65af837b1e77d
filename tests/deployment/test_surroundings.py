"""A person's own machine, and a container: what is set, closed, ignored or taken there."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from service.demo.embedded import free_port
from tests import PROJECT
from tests.fixtures.commands import Command
from tests.fixtures.databases import Databases, as_service, connect
from tests.fixtures.metadata import KEY
from tests.fixtures.pgbouncer import PgBouncer
from tests.fixtures.process import StartProcess

pytestmark = pytest.mark.operations
SERVICE = [sys.executable, "-m", "service"]


def unreachable(port: int) -> dict[str, str]:
    """Settings of a service whose database does not answer."""
    return os.environ | {
        "ROSETTA_CONFIG_DSN": "postgresql://u:p@127.0.0.1:1/x",
        "ROSETTA_PORT": str(port),
        "CREDENTIAL_ENCRYPTION_KEY": KEY,
    }


def heed_interrupts() -> None:
    """Whoever runs the tests in the background ignores SIGINT, and children do as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_a_start_that_waits(number: signal.Signals) -> None:
    """At once: as process 1 of a container it would be killed after the orchestrator's patience otherwise."""
    with subprocess.Popen(
        [*SERVICE, "serve"],
        env=unreachable(free_port()) | {"ROSETTA_START_WAIT_S": "600"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as child:
        assert child.stderr is not None
        assert "waiting to start" in child.stderr.readline()
        child.send_signal(number)
        began = monotonic()
        rest = child.stderr.read()
        code = child.wait(20)
    assert monotonic() - began < 10
    assert code == (0 if number == signal.SIGTERM else 130)
    assert "Traceback" not in rest


# A service that gets SIGTERM when it has started, and does not serve yet.
_STOPPED_IN_BETWEEN = """
import os, signal
from service.cli import main
from service.serving import process

build = process.build

def stopped(*parts):
    os.kill(os.getpid(), signal.SIGTERM)
    return build(*parts)

process.build = stopped
raise SystemExit(main.main())
"""


def test_signal_between_the_start_and_serving_is_heard(config_dsn: str, redis_url: str) -> None:
    """It would be lost in process 1, and elsewhere end the process without its cleanup."""
    ran = subprocess.run(
        [sys.executable, "-P", "-c", _STOPPED_IN_BETWEEN, "serve"],
        env=unreachable(free_port()) | {"ROSETTA_CONFIG_DSN": as_service(config_dsn), "ROSETTA_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"serving"' in ran.stderr


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs a process 1 of its own")
def test_process_1_ends_while_it_waits() -> None:
    """The kernel drops signals to process 1 that it does not handle."""
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *SERVICE, "serve"],
        env=unreachable(free_port()) | {"ROSETTA_START_WAIT_S": "600"},
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        if "waiting to start" not in (first := child.stderr.readline()):
            pytest.skip(f"no namespace can be made here: {first}")
        listed = subprocess.run(
            ["pgrep", "--parent", str(child.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        os.kill(int(listed[0]), signal.SIGTERM)
        assert child.wait(20) == 0


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]])
def test_it_serves_without_standard_streams(serve: StartProcess, closed: list[int]) -> None:
    """A closed one would be the first socket, and log lines would fail."""

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    process = serve(preexec=close)
    process.until_ready()
    assert process.client.get("/health/ready").json()["status"] == "ready"
    process.send(signal.SIGTERM)
    assert process.wait() == 0


def test_modules_of_the_current_folder_are_not_run(tmp_path: Path) -> None:
    """`python -m` looks there first."""
    for name in ("secrets", "argparse", "asyncio", "psycopg"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('somebody else is running')\n")
    ran = subprocess.run([*SERVICE, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_terminal_of_another_encoding_shows_everything(rosetta: Command) -> None:
    """What it cannot show is escaped."""
    added = rosetta(
        "sources", "add", "--name", "l\u00e4den", "--host", "127.0.0.1", "--port", "1", "--database", "d", "--user",
        "u", "--publication", "p", "--slot", "s", PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert "Traceback" not in added.stderr
    listed = rosetta("sources", "list", PYTHONIOENCODING="ascii")
    assert (listed.returncode, listed.stderr) == (0, "")


def test_port_of_a_kubernetes_service_is_explained() -> None:
    """It sets ROSETTA_PORT for a Service that is called rosetta."""
    ran = subprocess.run(
        [*SERVICE, "serve"],
        env=unreachable(0) | {"ROSETTA_PORT": "tcp://10.0.0.1:80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("rosetta serve: ROSETTA_PORT: is the address of a Service: Kubernetes sets this")
    assert ran.stderr.count("\n") == 1


def test_migrate_leaves_nothing_behind_a_pooler(databases: Databases, pooler_for: Callable[[str], PgBouncer]) -> None:
    """No lock and no setting: other programs get its connection, and the next migration must not wait for ever."""
    dsn = databases.create()
    through = pooler_for(dsn).dsn(dsn)
    for arguments in ([], ["--repair"], []):
        ran = subprocess.run(
            [*SERVICE, "migrate", *arguments],
            env=os.environ | {"ROSETTA_CONFIG_DSN": through},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    with connect(dsn) as direct, connect(through) as other:
        held = direct.execute("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        assert held == {"n": 0}
        assert other.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "0"}


def test_migrate_is_not_bound_by_its_roles_limits(databases: Databases) -> None:
    """They are meant for queries."""
    dsn = databases.create()
    with connect(dsn) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET statement_timeout = 5'.encode())
        connection.execute(f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 5'.encode())
    ran = subprocess.run(
        [*SERVICE, "migrate"], env=os.environ | {"ROSETTA_CONFIG_DSN": dsn}, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_migrate_without_rights_says_so_in_a_line(databases: Databases) -> None:
    """And leaves nothing half-applied."""
    dsn = databases.create()
    with connect(dsn) as connection:
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain-word'")
        try:
            place = psycopg.conninfo.make_conninfo(dsn, user="plain", password="plain-word")
            ran = subprocess.run(
                [*SERVICE, "migrate"],
                env=os.environ | {"ROSETTA_CONFIG_DSN": place},
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            connection.execute("DROP ROLE plain")
        assert ran.returncode == 1
        assert ran.stderr.startswith("rosetta migrate: permission denied for schema public")
        assert ran.stderr.count("\n") == 1
        assert connection.execute("SELECT to_regclass('source_details_migrations') AS found").fetchone() == {
            "found": None
        }


def test_interrupted_migrate_says_so_in_a_line(databases: Databases) -> None:
    """While it waits for another deployment's lock."""
    dsn = databases.create()
    with connect(dsn) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtext('source_details_migrations'))")
        with subprocess.Popen(
            [*SERVICE, "migrate"],
            env=os.environ | {"ROSETTA_CONFIG_DSN": dsn},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        ) as child:
            waiting = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while (other.execute(waiting).fetchone() or {})["n"] == 0:
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            assert child.stderr is not None
            said = child.stderr.read()
            assert child.wait(20) == 130
    assert said == "rosetta migrate: interrupted; nothing is half-applied: run it again\n"


def install(folder: Path) -> tuple[Path, Path]:
    """A checkout whose environment installs in an instant: `pip` only notes how it was called."""
    calls = folder / "calls"
    (folder / "bin").mkdir()
    shutil.copy(PROJECT / "bin" / "environment.sh", folder / "bin")
    for name in ("requirements.lock", "requirements-demo.lock", "pyproject.toml"):
        (folder / name).write_text(f"{name}==1")
    python = folder / "python"
    python.write_text(
        f"""#!/usr/bin/env bash
if [[ $1 == -m && $2 == venv ]]; then
    echo venv >>"{calls}"
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
elif [[ $1 == -m ]]; then
    lock=$(basename "${{*: -1}}")
    echo "pip ${{lock#{folder.name}}}${{PIP_CONSTRAINT-}}${{PIP_USER-}}${{PYTHONPATH-}}" | sed 's/ $//' >>"{calls}"
    sleep 0.3
else
    exec "{sys.executable}" "$@"
fi
"""
    )
    python.chmod(0o755)
    (folder / "bin" / "command").write_text(
        'source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"\ntest -f "$stamp"\n'
    )
    return python, calls


def test_two_first_commands_at_once_install_once(tmp_path: Path) -> None:
    """Neither removes what the other has made. What is set for other projects does not reach the installation."""
    python, calls = install(tmp_path)
    environment = os.environ | {
        "ROSETTA_PYTHON": str(python), "PIP_CONSTRAINT": "/nowhere", "PIP_USER": "1", "PYTHONPATH": "/nowhere",
    }  # fmt: skip
    command = ["bash", str(tmp_path / "bin" / "command"), "an argument"]
    running = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [child.wait(60) for child in running] == [0] * 4
    assert calls.read_text().splitlines() == ["venv", "pip requirements-demo.lock", "pip"]


def test_demo_installs_less_than_the_tests(tmp_path: Path) -> None:
    """What the demo has installed stays when the tests come; a changed lock begins anew."""
    python, calls = install(tmp_path)
    environment = os.environ | {"ROSETTA_PYTHON": str(python)}

    def run(**packages: str) -> list[str]:
        """What was called, and with which lock."""
        calls.unlink(missing_ok=True)
        subprocess.run(["bash", str(tmp_path / "bin" / "command")], env=environment | packages, check=True)
        return calls.read_text().splitlines() if calls.exists() else []

    few, more = ["pip requirements-demo.lock", "pip"], ["pip requirements.lock", "pip"]
    assert run() == ["venv", *few]
    assert run() == []
    assert run(rosetta_packages="all") == more
    assert run() == run(rosetta_packages="all") == []
    (tmp_path / "requirements.lock").write_text("changed==2")
    assert run(rosetta_packages="all") == ["venv", *more]


def test_python_without_venv_is_named_with_its_remedy(tmp_path: Path) -> None:
    """Debian's has no ensurepip until python3-venv is installed."""
    install(tmp_path)
    bare = tmp_path / "nothing"
    bare.mkdir()
    for name in ("bash", "dirname", "cksum", "cmp", "cat"):
        (bare / name).symlink_to(shutil.which(name) or name)
    ran = subprocess.run(
        ["bash", str(tmp_path / "bin" / "command")],
        env={"PATH": str(bare)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "the package python3-venv" in ran.stderr
