"""`rosetta token`: creates an access token."""

import argparse

from service.cli.common import FINE, WRONG, complain, show
from service.config import tokens


def main(arguments: list[str]) -> int:
    """0 on success, 2 for an invalid name."""
    parser = argparse.ArgumentParser(
        prog="rosetta token", description="Create an access token. It is printed once and stored nowhere."
    )
    parser.add_argument("name", help="name of its user: letters, digits, '.', '_', '-'")
    parser.add_argument("--scope", choices=["read", "operate"], default="read", help="operate also allows syncs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        token, entry = tokens.new(options.name, options.scope)
    except ValueError:
        complain(f"rosetta token: '{options.name}' is not a valid name")
        return WRONG
    lines = [
        "for the caller, as Authorization: Bearer or as the password in a browser:",
        f"  {token}",
        "for ROSETTA_ACCESS_TOKENS, separated from others by commas:",
        f"  {entry}",
    ]
    show({"token": token, "entry": entry}, lines, as_json=options.json)
    return FINE
