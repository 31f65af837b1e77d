"""`rosetta migrate`: applies the migrations to the config database."""

import argparse
import os
import sys

import psycopg
from psycopg.conninfo import conninfo_to_dict

from service.cli.common import FAILED, FINE
from service.database.migrations import check, migrate
from service.errors import StartError


def main(arguments: list[str]) -> int:
    """0 where everything is applied (now, or before for --check), 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="rosetta migrate",
        description="Apply the migrations to the config database (ROSETTA_CONFIG_DSN, or ROSETTA_MIGRATE_DSN for a "
        "role with more rights).",
    )
    parser.add_argument("--check", action="store_true", help="only say what is missing; exit 1 if anything is")
    options = parser.parse_args(arguments)
    try:
        missing = check(_dsn()) if options.check else migrate(_dsn(), say=print)
    except StartError as error:
        print(f"rosetta migrate: {error}", file=sys.stderr)
        return FAILED
    for name in missing if options.check else ():
        print(f"missing: {name}")
    if options.check and not missing:
        print("nothing is missing")
    return FAILED if options.check and missing else FINE


def _dsn() -> str:
    for variable in ("ROSETTA_MIGRATE_DSN", "ROSETTA_CONFIG_DSN"):
        if dsn := os.environ.get(variable):
            try:
                conninfo_to_dict(dsn)
            except psycopg.ProgrammingError:
                raise StartError(f"{variable}: is not a PostgreSQL connection string") from None
            return dsn
    raise StartError("ROSETTA_CONFIG_DSN: is not set")
