"""The image and the compose file, as users have them: built, run without rights, and taken down."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator

import httpx
import pytest

from service.demo.embedded import free_port
from tests import PROJECT
from tests.fixtures.process import until

IMAGE = "rosetta-source-details"
BASE = "python:3.13-slim"
_LARGEST_MB = 120


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not _answers("docker", "image", "inspect", BASE), reason=f"no container engine has {BASE}: docker pull {BASE}"
    ),
]


def docker(*arguments: str) -> str:
    """What the command prints; AssertionError with what it complains of."""
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return ran.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def image() -> str:
    """The image, built from the checkout. Plain `docker build` is used where BuildKit is not installed."""
    environment = os.environ | ({} if _answers("docker", "buildx", "version") else {"DOCKER_BUILDKIT": "0"})
    ran = subprocess.run(
        ["docker", "build", "--network", "host", "-t", IMAGE, "."],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return IMAGE


@pytest.fixture
def compose() -> Iterator[list[str]]:
    """The command of a project of its own, which is taken down with its volume."""
    found = ["docker", "compose"] if _answers("docker", "compose", "version") else ["docker-compose"]
    if not _answers(*found, "version"):
        pytest.skip("docker compose is not installed")
    command = [*found, "-p", f"rosetta{uuid.uuid4().hex[:8]}", "-f", str(PROJECT / "compose.yaml")]
    yield command
    subprocess.run([*command, "down", "-v", "-t", "15"], capture_output=True, timeout=120, check=True)


def size_mb(name: str) -> float:
    """Of an image, its base included."""
    return int(docker("image", "inspect", "-f", "{{.Size}}", name)) / 1e6


def test_image_is_small_and_has_no_installer(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the service adds to its base."""
    added = size_mb(image) - size_mb(BASE)
    with capsys.disabled():
        print(f"\nthe image adds {added:.0f} MB to its base")
    assert added < _LARGEST_MB
    listed = docker("run", "--rm", "--entrypoint", "ls", image, "/app/bin")
    assert "rosetta" in listed.split()
    assert "pip" not in listed.split()


def test_it_runs_without_any_right(image: str) -> None:
    """As nobody, on a file system that cannot be written to; what it says of a missing setting is one line."""
    without = ["run", "--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", image]
    assert docker(*without, "--version")
    assert docker("run", "--rm", "--entrypoint", "id", image, "-u") == "10001"
    ran = subprocess.run(["docker", *without], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "rosetta serve: ROSETTA_CONFIG_DSN: is not set\n"


def test_sigterm_ends_it_while_it_waits_for_its_database(image: str) -> None:
    """As process 1, which the kernel sends no signal that it does not handle."""
    name = f"rosetta-{uuid.uuid4().hex[:8]}"
    docker(
        "run", "-d", "--name", name, "--read-only", "--cap-drop", "ALL",
        "-e", "ROSETTA_CONFIG_DSN=postgresql://u@192.0.2.1/d", "-e", "ROSETTA_START_WAIT_S=300",
        "-e", "CREDENTIAL_ENCRYPTION_KEY=0123456789abcdef0123456789abcdef", "-e", "ROSETTA_OPEN_ACCESS=true", image,
    )  # fmt: skip
    try:
        until(lambda: "waiting to start" in _complaints(name), lambda: _complaints(name))
        docker("stop", "-t", "20", name)
        state = json.loads(docker("inspect", "-f", "{{json .State}}", name))
        # 137 would be the kill after the wait.
        assert state["ExitCode"] == 0, _complaints(name)
    finally:
        docker("rm", "-f", name)


def _complaints(name: str) -> str:
    return subprocess.run(["docker", "logs", name], capture_output=True, text=True, timeout=30, check=False).stderr


def test_compose_comes_up_serves_and_goes_down(compose: list[str]) -> None:
    """A source is added, synced with the compose file's own database, read, evicted and read again."""
    port = free_port()
    environment = os.environ | {"ROSETTA_PUBLISHED_PORT": str(port)}

    def run(*arguments: str, given: str = "") -> str:
        ran = subprocess.run(
            [*compose, *arguments],
            env=environment, input=given, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        return ran.stdout

    run("up", "-d", "--no-build")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        def is_ready() -> bool:
            try:
                return client.get("/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        until(is_ready, lambda: run("logs"))
        run(
            "exec", "-T", "config", "psql", "-q", "-U", "rosetta", "-d", "rosetta_config",
            "-c", "CREATE TABLE orders (id int PRIMARY KEY)", "-c", "CREATE PUBLICATION shop FOR TABLE orders",
        )  # fmt: skip
        run(
            "exec", "-T", "details", "rosetta", "sources", "add", "shop", "--host", "config",
            "--database", "rosetta_config", "--user", "rosetta", "--publication", "shop", "--password-stdin",
            given="change-me\n",
        )  # fmt: skip
        run("exec", "-T", "details", "rosetta", "sync", "shop")
        (source,) = client.get("/api/v1/sources").json()
        path = f"/api/v1/sources/{source['id']}/details"
        page = client.get(path)
        assert [table["table_name"] for table in page.json()["tables"]] == ["orders"]
        until(lambda: "hit" in client.get(path).headers["cache-status"])
        run("exec", "-T", "details", "rosetta", "evict", "shop")
        # The first read after the eviction.
        until(lambda: "fwd=miss" in client.get(path).headers["cache-status"])
        assert client.get("/health/ready").json()["status"] == "ready"
