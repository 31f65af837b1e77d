"""The first command in a checkout installs what it needs, once; without a Python that can, it names the remedy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import PROJECT

pytestmark = pytest.mark.operations


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
