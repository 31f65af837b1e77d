"""The folders of SQL that belong to the program: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path


def folder(name: str) -> Path:
    """The folder called `name`: "sql" or "migrations"; FileNotFoundError where the installation lacks it."""
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the installation lacks its folder {name}")
