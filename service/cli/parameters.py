"""Arguments and options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def not_empty(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Refuses an empty text, which is nobody's name."""
    if text is not None and not text.strip():
        raise click.BadParameter("must not be empty")
    return text


def as_json(function: Function) -> Function:
    """The option `--json`."""
    return click.option("--json", "is_json", is_flag=True, help="Print JSON.")(function)


def source(function: Function) -> Function:
    """The argument SOURCE."""
    return click.argument("source", metavar="SOURCE", callback=not_empty)(function)


def source_or_all(function: Function) -> Function:
    """Either the argument SOURCE or `--all`."""
    every = click.option("--all", "is_all", is_flag=True, help="Every source.")
    one = click.argument("source", metavar="[SOURCE]", required=False, callback=not_empty)
    return every(one(function))


def check_one_or_all(source: str | None, *, is_all: bool) -> None:
    """UsageError unless exactly one of both was given."""
    if (source is None) != is_all:
        raise click.UsageError("name one SOURCE, by its name or id, or give --all")
