"""A release: what the workflows run exists, and what can be tried without publishing is."""

import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import service
from tests import PROJECT
from tests.fixtures.changelog import released

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> list[dict[str, Any]]:
    """Of all jobs."""
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_runs_what_exists(path: Path) -> None:
    """Programs and files of the checkout; every job has few rights unless it says so."""
    whole = yaml.safe_load(path.read_text())
    assert whole["permissions"] == {"contents": "read"}
    commands = [step["run"] for step in steps(path) if "run" in step]
    for command in commands:
        # Those of other environments have a folder before them.
        for name in re.findall(r"(?<![\w/])((?:bin|\.ci)/\w+)", command):
            assert os.access(PROJECT / name, os.X_OK), name
        for name in re.findall(r"[\w-]+\.lock", command):
            assert (PROJECT / name).exists()


def test_version_is_the_newest_release_or_is_on_its_way_to_the_next() -> None:
    """A release has a heading with its date; on the way to one, the version is greater, and says so."""
    numbers, _, development = service.__version__.partition(".dev")
    newest = released()[0]
    if development:
        assert [int(number) for number in numbers.split(".")] > [int(number) for number in newest.split(".")]
    else:
        assert numbers == newest


def test_released_wheel_is_kept() -> None:
    """The rolling update begins with it."""
    (wheel,) = (PROJECT / "tests" / "deployment" / "released").glob("*.whl")
    assert wheel.name.split("-")[1] == released()[0]


def package(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What the workflow runs."""
    return subprocess.run(
        [PROJECT / "bin" / "package", folder], env=os.environ | variables, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip


def test_package_is_built_for_the_tag_of_its_version_alone(tmp_path: Path) -> None:
    """A tag of another version would publish the wrong thing under a name that cannot be taken back."""
    wrong = package(tmp_path, GITHUB_REF_TYPE="tag", GITHUB_REF_NAME="v9.9.9")
    assert wrong.returncode == 1
    assert wrong.stderr.endswith(f"bin/package: the tag is v9.9.9, the version {service.__version__}\n")
    built = package(tmp_path, GITHUB_REF_TYPE="tag", GITHUB_REF_NAME=f"v{service.__version__}")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert f"rosetta_source_details-{service.__version__}.dist-info/METADATA" in zipfile.ZipFile(wheel).namelist()
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
