"""The demo as a newcomer runs it; nothing is left of it, however it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from time import monotonic

import httpx
import pytest

from service.demo.servers import free_port
from tests.fixtures.secrets import Walker

# It brings servers of its own, from wheels.
pytestmark = pytest.mark.servers
DEMO = [sys.executable, "-m", "service", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose temporary folder is the test's own; empty again when the test is over."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    for parent in (folder, *folder.parents):
        # As root the servers run as another user, who has to get there.
        if parent.stat().st_uid == os.geteuid() and parent.stat().st_mode & 0o7777 == 0o700:
            parent.chmod(0o711)
    folder.chmod(0o777)
    shared = shared_memory()
    yield os.environ | {"TMPDIR": str(folder)}
    assert list(folder.iterdir()) == []
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


def test_check_tells_the_whole_story(environment: dict[str, str], no_leaks: Walker) -> None:
    """Every step with its time, and exit code 0."""
    result = subprocess.run(
        [*DEMO, "--check"], env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    for line in result.stdout.splitlines():
        no_leaks.look("log lines", line)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "everything works"
    for step in (
        "miss", "hit", "304 on the ETag", "UPDATE by SQL alone", "DEL by hand", "force_refresh finds",
        "a varchar is widened at the source: a version that names both lengths",
        "REFRESH MATERIALIZED VIEW by SQL alone", "source stopped", "redis stopped",
    ):  # fmt: skip
        assert any(step in line and " ms  " in line for line in result.stdout.splitlines()), step


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the demo's processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(environment: dict[str, str], number: signal.Signals) -> None:
    """No process, no file, no shared memory, even after SIGKILL."""
    port = free_port()
    with subprocess.Popen(
        [*DEMO, "--port", str(port)], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        # Ends the demo, and with it readline(), if it never prints the last hint.
        watchdog = Timer(60, demo.terminate)
        watchdog.start()
        printed = ""
        while "Ctrl-C" not in printed:
            line = demo.stdout.readline()
            assert line, printed
            printed += line
        watchdog.cancel()
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/sources/1").json()["name"] == "shop"
        pids = descendants(demo.pid)
        assert len(pids) > 4
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
