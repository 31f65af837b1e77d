"""`rosetta token`: creates an access token."""

from typing import Literal

import click

from service.cli.output import FINE, say, show_json
from service.cli.parameters import as_json, not_empty
from service.config import tokens


@click.command("token")
@click.argument("name", callback=not_empty)
@click.option("--scope", type=click.Choice(["read", "operate"]), default="read", show_default=True,
              help="What it allows; operate includes syncs.")  # fmt: skip
@as_json
def command(name: str, scope: Literal["read", "operate"], is_json: bool) -> int:
    """Create an access token for NAME (letters, digits, '.', '_', '-'). It is printed once and stored nowhere.

    \b
    Example:
      rosetta token ci --scope operate
    """
    try:
        token, entry = tokens.new(name, scope)
    except ValueError:
        raise click.BadParameter(f"'{name}' is not a valid name", param_hint="NAME") from None
    if is_json:
        show_json({"token": token, "entry": entry})
    else:
        say(
            "for the caller, as Authorization: Bearer or as the password in a browser:",
            f"  {token}",
            "for ROSETTA_ACCESS_TOKENS, separated from others by commas:",
            f"  {entry}",
        )
    return FINE
