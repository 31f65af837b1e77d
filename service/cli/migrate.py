"""`rosetta migrate`: makes, checks, repairs and removes the service's objects in the config database."""

import argparse
import os
import sys

import psycopg
from psycopg.conninfo import conninfo_to_dict

from service.cli.common import FAILED, FINE, complain, confirmed, say
from service.database import migrations
from service.database.connection import reason
from service.database.uninstall import losses, uninstall
from service.errors import StartError


def main(arguments: list[str]) -> int:
    """0 on success; 1 if it failed, or if --check found something missing."""
    parser = argparse.ArgumentParser(
        prog="rosetta migrate",
        description="Create the service's objects in the config database (ROSETTA_CONFIG_DSN, or ROSETTA_MIGRATE_DSN "
        "for a role with more rights). Without an option: apply what is missing or has changed.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="only list what is missing; exit 1 if anything is")
    action.add_argument(
        "--repair", action="store_true", help="apply every file again: restores what was dropped or disabled"
    )
    action.add_argument("--uninstall", action="store_true", help="remove every object of the service")
    parser.add_argument("--yes", action="store_true", help="uninstall without asking")
    options = parser.parse_args(arguments)
    try:
        dsn = _dsn()
        if options.check:
            return _check(dsn)
        if options.uninstall:
            return _uninstall(dsn, is_confirmed=options.yes)
        migrations.migrate(dsn, say=say, repair=options.repair)
    except StartError as error:
        complain(f"rosetta migrate: {error}")
        return FAILED
    except psycopg.Error as error:
        complain(f"rosetta migrate: {reason(error)}; nothing is half-applied: run it again when that is mended")
        return FAILED
    except KeyboardInterrupt:
        complain("rosetta migrate: interrupted; nothing is half-applied: run it again")
        return FAILED
    return FINE


def _check(dsn: str) -> int:
    missing = migrations.check(dsn)
    for name in missing.names:
        print(f"missing: {name}")
    if missing.names:
        print(f"run {missing.remedy}")
        return FAILED
    print("nothing is missing")
    return FINE


def _uninstall(dsn: str, *, is_confirmed: bool) -> int:
    lost = losses(dsn)
    for loss in lost:
        print(f"will be lost: {loss.count} {loss.what}")
    if lost and not is_confirmed and not confirmed("remove the service's objects?"):
        print("rosetta migrate: nothing was removed; use --yes to skip the question", file=sys.stderr)
        return FAILED
    uninstall(dsn, say=say)
    print("removed every object of the service; its role is kept (see service/deploy/roles.sql)")
    return FINE


def _dsn() -> str:
    for variable in ("ROSETTA_MIGRATE_DSN", "ROSETTA_CONFIG_DSN"):
        if dsn := os.environ.get(variable):
            try:
                conninfo_to_dict(dsn)
            except psycopg.ProgrammingError:
                raise StartError(f"{variable}: is not a PostgreSQL connection string") from None
            return dsn
    raise StartError("ROSETTA_CONFIG_DSN: is not set")
