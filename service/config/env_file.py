"""The file `.env`: settings that the environment lacks, for a person's own machine."""

import os
from pathlib import Path

from dotenv import dotenv_values

from service.errors import StartError

_PATH = Path(".env")
_LARGEST_BYTES = 64 * 1024
_OURS = ("ROSETTA_", "CREDENTIAL_ENCRYPTION_KEY", "OTEL_")
_read: dict[str, Path] = {}


def load() -> Path | None:
    """Sets the variables of `.env` in the current folder that the environment lacks; returns its path if it has any.

    Only this service's variables are read. Nothing in a value is replaced: `$` is a dollar sign. StartError if the file
    cannot be read.
    """
    path = _PATH.absolute()
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise StartError(f"{path}: is larger than {_LARGEST_BYTES} bytes")
        values = dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{path}: cannot be read ({error})") from None
    for name, value in values.items():
        if name.startswith(_OURS) and value is not None and name not in os.environ:
            os.environ[name] = value
            _read[name] = path
    return path if _read else None


def origin(name: str) -> Path | None:
    """The file that a variable was read from, or None."""
    return _read.get(name)
