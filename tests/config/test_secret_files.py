"""Secrets in files."""

import os
from pathlib import Path

import pytest

from service.config import secret_files, settings
from service.errors import StartError


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is set, and what is set goes again."""
    for name in secret_files.VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


def test_every_secret_can_be_in_a_file() -> None:
    """Those of the settings, and two that commands read."""
    secret = {setting.variable for setting in settings.describe() if setting.is_secret}
    assert set(secret_files.VARIABLES) == secret | {"ROSETTA_MIGRATE_DSN", "ROSETTA_TOKEN"}


@pytest.mark.parametrize("name", secret_files.VARIABLES)
def test_secret_is_read_without_the_end_of_its_line(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second look, with both set alike, changes nothing."""
    file = tmp_path / "secret"
    file.write_text(" pass word \n")
    monkeypatch.setenv(f"{name}_FILE", str(file))
    for _ in range(2):
        secret_files.load()
        assert os.environ[name] == " pass word "
    assert secret_files.origin(name) == file


def test_another_value_beside_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody can tell which of them is meant; neither is shown."""
    file = tmp_path / "secret"
    file.write_text("one-secret")
    monkeypatch.setenv("ROSETTA_REDIS_URL", "other-secret")
    monkeypatch.setenv("ROSETTA_REDIS_URL_FILE", str(file))
    with pytest.raises(StartError, match=r"^ROSETTA_REDIS_URL_FILE: ROSETTA_REDIS_URL is set as well") as raised:
        secret_files.load()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"x" * 70_000, "larger than 65536 bytes"),
        (b"a\0b", "no text"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_file_that_holds_no_secret_is_named(
    content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With its variable, in one line, without what is in it."""
    file = tmp_path / "named"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("ROSETTA_CONFIG_DSN_FILE", str(file))
    with pytest.raises(StartError) as raised:
        secret_files.load()
    assert str(raised.value).startswith(f"ROSETTA_CONFIG_DSN_FILE: {file} ")
    assert message in str(raised.value)
    assert "xxx" not in str(raised.value)
