"""Secrets in files, as containers mount them: `ROSETTA_CONFIG_DSN_FILE` names one for `ROSETTA_CONFIG_DSN`."""

import os
from pathlib import Path

from service.errors import StartError

_LARGEST_BYTES = 64 * 1024
_SUFFIX = "_FILE"
VARIABLES = (
    "ROSETTA_CONFIG_DSN",
    "ROSETTA_LISTENER_DSN",
    "ROSETTA_REDIS_URL",
    "CREDENTIAL_ENCRYPTION_KEY",
    "ROSETTA_ACCESS_TOKENS",
    "ROSETTA_WEBHOOKS",
    # Of commands.
    "ROSETTA_MIGRATE_DSN",
    "ROSETTA_TOKEN",
)
_read: dict[str, Path] = {}


def load() -> None:
    """Sets each secret variable whose file is named; a line's end after the secret is none of it.

    Raises:
        StartError: the variable has another value, or the file cannot be read, is empty or larger than 64 KiB.

    """
    for name in VARIABLES:
        if not (named := os.environ.get(name + _SUFFIX)):
            continue
        content = _content(name + _SUFFIX, Path(named))
        if os.environ.get(name, content) != content:
            raise StartError(f"{name}{_SUFFIX}: {name} is set as well, to something else; unset one of them")
        os.environ[name] = content
        _read[name] = Path(named)


def origin(name: str) -> Path | None:
    """The file that a variable was read from, or None."""
    return _read.get(name)


def _content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise StartError(f"{variable}: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise StartError(f"{variable}: {path} is not UTF-8") from None
    if len(content) > _LARGEST_BYTES or not text or "\0" in text:
        raise StartError(f"{variable}: {path} is empty, larger than {_LARGEST_BYTES} bytes, or no text")
    return text
