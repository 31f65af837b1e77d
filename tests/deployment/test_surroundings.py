"""A person's own machine, and a container: what is set, closed, ignored or taken there."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from service.demo.embedded import free_port
from tests.fixtures.commands import Command
from tests.fixtures.databases import as_service
from tests.fixtures.metadata import KEY
from tests.fixtures.process import SERVICE, StartProcess, heed_interrupts

pytestmark = pytest.mark.operations


def unreachable(port: int) -> dict[str, str]:
    """Settings of a service whose database does not answer."""
    return os.environ | {
        "ROSETTA_CONFIG_DSN": "postgresql://u:p@127.0.0.1:1/x",
        "ROSETTA_PORT": str(port),
        "CREDENTIAL_ENCRYPTION_KEY": KEY,
    }


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
