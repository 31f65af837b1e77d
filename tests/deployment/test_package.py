"""The wheel that the repository builds contains its SQL and runs from an empty folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import service
from tests import PROJECT
from tests.fixtures.packages import install


def build(kind: str, source: Path, folder: Path) -> Path:
    """The package, built with what is already installed."""
    command = [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", str(folder), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    return build("--wheel", PROJECT, tmp_path_factory.mktemp("dist"))


def test_wheel_holds_all_sql_and_no_tests(wheel: Path) -> None:
    """Every file of sql/ and migrations/, the templates, the static files and the deployment files."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("sql", "migrations"):
        for path in (PROJECT / folder).rglob("*.sql"):
            assert f"service/{path.relative_to(PROJECT)}" in names
    for folder in ("web/templates", "web/static", "deploy"):
        for path in (PROJECT / "service" / folder).rglob("*.*"):
            assert str(path.relative_to(PROJECT)) in names
    assert "service/py.typed" in names
    assert not any(name.startswith("tests/") for name in names)


def test_wheel_and_sdist_are_the_same_each_time(wheel: Path, tmp_path: Path) -> None:
    """Byte for byte, from the sdist as well: whoever has the source can check what was released."""
    one, two = (build("--sdist", PROJECT, tmp_path / folder) for folder in ("one", "two"))
    assert one.name == two.name == f"rosetta_source_details-{service.__version__}.tar.gz"
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as packed:
        packed.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = build("--wheel", source, tmp_path / "again")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_wheel_runs_from_an_empty_folder(wheel: Path, tmp_path: Path, config_dsn: str) -> None:
    """The console script migrates and prints its help without the checkout."""
    site = tmp_path / "site"
    install(wheel, site)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {
        # Comes before the checkout, which is installed in place for the tests.
        "PYTHONPATH": str(site),
        "PATH": os.environ["PATH"],
        "ROSETTA_CONFIG_DSN": config_dsn,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = [sys.executable, str(site / "bin" / "rosetta"), *arguments]
        return subprocess.run(script, cwd=empty, env=environment, capture_output=True, text=True, check=False)

    where = subprocess.run(
        [sys.executable, "-c", "import service.database.queries as q; print(q.__file__, len(q.query('details')))"],
        cwd=empty, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
    assert run("migrate", "--check").stdout == "nothing is missing\n"
    assert "ROSETTA_PORT" in run("serve", "--help").stdout
    assert "ROSETTA_CACHE_TTL_S" in run("settings").stdout
    assert run("--version").returncode == 0
    missing = run("serve")
    assert missing.returncode == 1
    assert missing.stderr == "rosetta serve: CREDENTIAL_ENCRYPTION_KEY: is not set\n"
    assert run("test").returncode == 1
