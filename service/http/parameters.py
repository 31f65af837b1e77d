"""Parses the parameters in a URL."""

import re
from collections.abc import Iterable

from service.errors import EntityNotFoundError, InvalidInputError

_INTEGER = re.compile(r"-?[0-9]+")
_LARGEST_ID = 2**31 - 1
_TRUE = {"true", "1", "on", "yes", "y", "t"}
_FALSE = {"false", "0", "off", "no", "n", "f"}
_SHOWN = 40
_LONGEST_NAME = 255


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def identifier(entity: str, text: str) -> int:
    """The id of an `entity`. InvalidInputError if it is no integer, EntityNotFoundError if no entity can have it."""
    name = f"{entity.lower()}_id"
    if not _INTEGER.fullmatch(text):
        raise InvalidInputError(
            f"{entity.lower()} id must be an integer, not '{_shown(text)}'", parameter=name, value=_shown(text)
        )
    digits = text.lstrip("-").lstrip("0")
    # The length is checked before the conversion: int() takes quadratic time, and refuses more than 4,300 digits.
    if text.startswith("-") or not digits or len(digits) > len(str(_LARGEST_ID)) or int(digits) > _LARGEST_ID:
        raise EntityNotFoundError(entity, _shown(text))
    return int(digits)


def boolean(name: str, text: str | None) -> bool:
    """A flag: true/false 1/0 on/off yes/no y/n t/f in any case; absent is false. InvalidInputError otherwise."""
    word = "false" if text is None else text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise InvalidInputError(
        f"{name} must be true or false, not '{_shown(text or '')}'", parameter=name, value=_shown(text or "")
    )


def search(name: str, text: str) -> str:
    """A text to search for. InvalidInputError if PostgreSQL cannot have it in a text."""
    if "\0" in text:
        raise InvalidInputError(f"{name} must not contain a zero byte", parameter=name)
    return text


def something(name: str, text: str | None) -> str:
    """A text that is not empty, without spaces around it. InvalidInputError otherwise."""
    wanted = search(name, text or "").strip()
    if not 1 <= len(wanted) <= _LONGEST_NAME:
        raise InvalidInputError(f"{name} must have 1 to {_LONGEST_NAME} characters", parameter=name)
    return wanted


def choice(name: str, text: str | None, choices: Iterable[str], default: str) -> str:
    """One of `choices`; absent is `default`. InvalidInputError otherwise."""
    if text is None:
        return default
    if text not in choices:
        raise InvalidInputError(
            f"{name} must be one of {', '.join(choices)}, not '{_shown(text)}'", parameter=name, value=_shown(text)
        )
    return text


def count(name: str, text: str | None, default: int, largest: int) -> int:
    """A number from 0 to `largest`. InvalidInputError for anything else."""
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(largest)) or int(text) > largest:
        raise InvalidInputError(
            f"{name} must be an integer from 0 to {largest}, not '{_shown(text)}'", parameter=name, value=_shown(text)
        )
    return int(text)
