"""The documents name what there is: files, commands with their options, settings."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from service.cli.main import rosetta
from service.config import settings
from service.config.secret_files import VARIABLES
from tests import PROJECT
from tests.test_layers import FLOORS

DOCUMENTS = sorted(str(path.relative_to(PROJECT)) for path in (*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")))
# Read by the tests, the bench and the installer.
_OF_OTHERS = {
    "ROSETTA_CHROMIUM", "ROSETTA_MIGRATE_DSN", "ROSETTA_PYTHON", "ROSETTA_TOKEN", "ROSETTA_WRITE_DOCS",
    "ROSETTA_WRITE_OPERATING", "ROSETTA_WRITE_PICTURES",
}  # fmt: skip


def test_readme_is_read_to_its_end() -> None:
    """Its first screens decide; the rest has pages of its own."""
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


def test_architecture_has_a_row_for_every_package() -> None:
    """In the order of the floors, and none that is gone."""
    table = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", (PROJECT / "ARCHITECTURE.md").read_text(), re.M)
    named = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    floors = [FLOORS[name] for name in named]
    assert floors == sorted(floors)
    assert set(named) == set(FLOORS) - {"__main__"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    """Links, and paths in code spans."""
    text = (PROJECT / document).read_text()
    for path in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert ((PROJECT / document).parent / path).exists(), path
    for path in re.findall(r"`((?:service|sql|tests|migrations|bin|docs)/[\w./]*)`", text):
        assert (PROJECT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_that_a_document_names_exist(document: str) -> None:
    """With the files of secrets."""
    known = {setting.variable for setting in settings.describe()} | {f"{name}_FILE" for name in VARIABLES} | _OF_OTHERS
    text = (PROJECT / document).read_text()
    # A name that ends in an underscore stands for several.
    named = set(re.findall(r"\b(?:ROSETTA|CREDENTIAL)_[A-Z_]*[A-Z]\b", text))
    assert named <= known, named - known


def commands(document: str) -> Iterator[list[str]]:
    """The words of each line of a block of commands that runs `rosetta`."""
    blocks = re.findall(r"^ *```(sh|console)\n(.*?)^ *```", (PROJECT / document).read_text(), re.M | re.S)
    for kind, block in blocks:
        # In a console the other lines are answers.
        prompt = r"\$ " if kind == "console" else r"\s*"
        for line in block.splitlines():
            command = re.match(prompt + r"(?:[A-Z_]+=\S+ )*(?:bin/)?rosetta (?P<words>[^|#]+)", line)
            if command:
                yield shlex.split(command["words"].split("&&")[0])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_a_document_gives_exist(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their options and the number of their arguments, as click reads them."""
    monkeypatch.chdir(tmp_path)
    for words in commands(document):
        for file in words:
            if file.endswith(".sql"):
                Path(file).touch()
        command: Any = rosetta
        context = click.Context(rosetta)
        left = list(words)
        while isinstance(command, click.Group) and left and not left[0].startswith("-"):
            found = command.get_command(context, left.pop(0))
            assert found is not None, words
            command = found
        if "--help" in left or command is rosetta or command.name in ("test", "completion"):
            continue
        command.make_context("rosetta", left)


def test_commands_are_found() -> None:
    """Else the test before would prove nothing."""
    assert ["doctor", "--sources"] in commands("docs/runbooks.md")
    with pytest.raises(click.NoSuchOption):
        rosetta.get_command(click.Context(rosetta), "doctor").make_context("rosetta", ["--nonsense"])  # type: ignore[union-attr]
