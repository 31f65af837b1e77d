"""`rosetta token`: makes an access token."""

import argparse
import sys

from service.cli.common import FINE, WRONG, show
from service.config import tokens


def main(arguments: list[str]) -> int:
    """0; 2 for a name that cannot be."""
    parser = argparse.ArgumentParser(
        prog="rosetta token", description="Make an access token. It is printed once, and kept nowhere."
    )
    parser.add_argument("name", help="who will use it: letters, digits, '.', '_', '-'")
    parser.add_argument("--scope", choices=["read", "operate"], default="read", help="operate syncs as well")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    try:
        token, entry = tokens.new(options.name, options.scope)
    except ValueError:
        print(f"rosetta token: '{options.name}' is no name for a token", file=sys.stderr)
        return WRONG
    lines = [
        "for the caller, as Authorization: Bearer, or as the password in a browser:",
        f"  {token}",
        "for ROSETTA_ACCESS_TOKENS, separated by commas from others:",
        f"  {entry}",
    ]
    show({"token": token, "entry": entry}, lines, as_json=options.json)
    return FINE
