"""`rosetta migrate`: makes, checks, repairs and removes the service's objects in the config database."""

import os
import sys

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from service.cli.output import FAILED, FINE, INTERRUPTED, complain, say
from service.cli.output import is_confirmed as is_wanted
from service.database import migrations
from service.database.connection import reason
from service.database.uninstall import losses, uninstall
from service.errors import StartError


@click.command("migrate")
@click.option("--check", "is_check", is_flag=True, help="Only list what is missing; exit 1 if anything is.")
@click.option("--repair", "is_repair", is_flag=True, help="Apply every file again: restores what was dropped.")
@click.option("--uninstall", "is_uninstall", is_flag=True, help="Remove every object of the service.")
@click.option("--yes", "is_confirmed", is_flag=True, help="Uninstall without asking.")
def command(is_check: bool, is_repair: bool, is_uninstall: bool, is_confirmed: bool) -> int:
    """Create the service's objects in the config database. Without an option: apply what is missing or has changed.

    The database is ROSETTA_CONFIG_DSN, or ROSETTA_MIGRATE_DSN for a role with more rights.

    \b
    Examples:
      ROSETTA_MIGRATE_DSN=postgresql://owner@db/rosetta_config rosetta migrate
      rosetta migrate --check
    """
    if is_check + is_repair + is_uninstall > 1:
        raise click.UsageError("--check, --repair and --uninstall exclude each other")
    try:
        dsn = _dsn()
        if is_check:
            return _check(dsn)
        if is_uninstall:
            return _uninstall(dsn, is_confirmed=is_confirmed)
        migrations.migrate(dsn, say=say, repair=is_repair)
    except StartError as error:
        complain(f"rosetta migrate: {error}")
        return FAILED
    except psycopg.Error as error:
        complain(f"rosetta migrate: {reason(error)}; nothing is half-applied: run it again when that is mended")
        return FAILED
    except KeyboardInterrupt:
        complain("rosetta migrate: interrupted; nothing is half-applied: run it again")
        return INTERRUPTED
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
    if lost and not is_confirmed and not is_wanted("remove the service's objects?"):
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
